"""What the acceptance tests share: running weir as a user does, and making small inputs.

WEIR_PROGRAM is the binary, WEIR_MPIEXEC the launcher with its option for the number of ranks, WEIR_DEMO_DATA the folder
of the Debian dependency stream.
"""

import json
import os
import random
import struct
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["WEIR_PROGRAM"]
MPIEXEC = os.environ["WEIR_MPIEXEC"].split()
DEMO = os.environ["WEIR_DEMO_DATA"]
# Without a launcher Open MPI need not start a daemon: a third of a second less for each of several hundred runs.
ALONE = dict(os.environ, OMPI_MCA_ess_singleton_isolated="1", OMPI_MCA_pml="ob1", OMPI_MCA_btl="self,vader")
TIMEOUT = 60  # Seconds; only a rank that hangs takes so long.


class Outcome:
    def __init__(self, completed):
        self.code = completed.returncode
        self.out = completed.stdout.decode()
        self.err = completed.stderr.decode()

    def json(self):
        def refuse(constant):
            raise ValueError(constant + " is not a finite number")
        return json.loads(self.out, parse_constant=refuse)

    def errors(self):
        return [line for line in self.err.splitlines() if line.startswith("weir: error: ")]


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def weir(self, *arguments, ranks=None, stdin=b""):
        launcher = MPIEXEC + [str(ranks)] if ranks else []
        return Outcome(subprocess.run(launcher + [PROGRAM] + [str(a) for a in arguments], input=stdin, env=None if ranks else ALONE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT))

    def succeed(self, *arguments, **options):
        outcome = self.weir(*arguments, **options)
        self.assertEqual(outcome.code, 0, outcome.err)
        return outcome

    def fail_with(self, code, *arguments, naming=(), **options):
        """One line of explanation, nothing on standard output, the exit code."""
        outcome = self.weir(*arguments, **options)
        self.assertEqual(outcome.code, code, outcome.err + outcome.out)
        self.assertEqual(len(outcome.errors()), 1, outcome.err)
        self.assertEqual(outcome.out, "")
        for text in [naming] if isinstance(naming, str) else naming:
            self.assertIn(text, outcome.errors()[0])
        return outcome


def vector_events(count, n, seed):
    """Whole-valued turnstile updates with a few heavy coordinates, and the vector that they add up to."""
    source = random.Random(seed)
    events, y = [], {}
    for _ in range(count):
        i = source.choice([3, n // 2, n - 1]) if source.random() < 0.3 else source.randrange(n)
        delta = source.randrange(-5, 10)
        events.append((i, delta))
        y[i] = y.get(i, 0) + delta
    return events, y


def as_text(events):
    return "".join("%d,%d\n" % event for event in events)


def without_times(answer, *more):
    return {key: value for key, value in answer.items() if key not in ("seconds", "ranks") + more}


def npy(descr, rows, data, fortran=False):
    """An array of the shape of `rows`, with these data, as a .npy file."""
    header = "{'descr': '%s', 'fortran_order': %s, 'shape': (%d, %d), }" % (descr, fortran, len(rows), len(rows[0]))
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def as_npy(rows):
    """The rows as a .npy file of doubles."""
    return npy("<f8", rows, b"".join(struct.pack("<%dd" % len(row), *row) for row in rows))
