"""What the tests of the package share: the program beside it, and vectors that both are given.

PYTHONPATH has the package; WEIR_PROGRAM is the program, WEIR_MPIEXEC the launcher with its option for the number of ranks;
both are empty where weir was built without MPI."""

import os
import subprocess
import tempfile
import unittest

import numpy as np

PROGRAM = os.environ.get("WEIR_PROGRAM", "")
MPIEXEC = os.environ.get("WEIR_MPIEXEC", "").split()
SOURCES = os.environ["WEIR_SOURCES"]
# Without a launcher Open MPI need not start a daemon.
ALONE = dict(os.environ, OMPI_MCA_ess_singleton_isolated="1", OMPI_MCA_pml="ob1", OMPI_MCA_btl="self,vader")
TIMEOUT = 120


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write_events(self, name, *columns):
        """Lines of numbers; a column may be one text for all of them."""
        count = max(len(column) for column in columns if not isinstance(column, str))
        parts = [[column] * count if isinstance(column, str) else [str(x) for x in column] for column in columns]
        with open(self.path(name), "w") as file:
            file.writelines(",".join(line) + "\n" for line in zip(*parts))
        return self.path(name)

    def weir(self, *arguments, code=0):
        if not PROGRAM:
            self.skipTest("weir was built without the program")
        done = subprocess.run([PROGRAM, *map(str, arguments)], env=ALONE, capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def error_of_program(self, *arguments, code=2):
        line, = [line for line in self.weir(*arguments, code=code).stderr.splitlines() if line.startswith("weir: error: ")]
        return line[len("weir: error: ") :]

    def assert_same_arrays(self, a, b):
        one, other = a.arrays(), b.arrays()
        self.assertEqual(list(one), list(other))
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], name)


def events(count, n, seed):
    """Whole-valued changes with a few heavy entries: keys (int64), deltas (float64), and the vector they add up to."""
    random = np.random.default_rng(seed)
    keys = np.where(random.random(count) < 0.3, random.choice([3, n // 2, n - 1], count), random.integers(0, n, count))
    deltas = random.integers(-5, 10, count).astype(float)
    return keys, deltas, np.bincount(keys, weights=deltas, minlength=n)
