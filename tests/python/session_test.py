"""Sessions over mpi4py: the test starts itself under the launcher, on four ranks."""

import json
import os
import subprocess
import sys
import unittest

import numpy as np
from support import ALONE, MPIEXEC, TIMEOUT, Case, events

import weir


def on_ranks(folder):
    """What each rank does; an AssertionError ends all of them with a message."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    root = comm.rank == 0
    keys, deltas, y = events(6000, 1000, 4)
    stream = os.path.join(folder, "y.csv")
    if root:
        with open(stream, "w") as file:
            file.writelines(f"{key},{int(delta)}\n" for key, delta in zip(keys, deltas))
    comm.Barrier()
    expected = weir.Vector(n=1000, seed=7).update(keys, deltas)

    def check(condition, what):
        if not condition:
            print(f"rank {comm.rank}: {what}", file=sys.stderr, flush=True)
            comm.Abort(1)

    def raises(work, naming):
        try:
            work()
        except ValueError as error:
            check(naming in str(error), f"'{error}' does not name '{naming}'")
            return
        check(False, f"nothing was raised that names '{naming}'")

    # The whole stream, and in parts.
    with weir.Session(comm, weir.Problem("vector", n=1000, seed=7), stream) as session:
        check((session.rank, session.size) == (comm.rank, 4), "rank and size")
        check(session.advance(events=2000), "more to come")
        check((session.query() is not None) == root, "answers on the root")
        check(session.statistics()["updates"] == 2000, "updates so far")
        check(not session.advance(), "the end")
        state = session.state()
        check((state is not None) == root, "the state is on the root")
        if root:
            for name, numbers in expected.arrays().items():
                check(np.array_equal(state.arrays()[name], numbers), "the sum of the ranks")
            check(state.updates == 6000, "all updates")
        drawn = session.sample(4, second_pass=True)
        if root:
            check(np.array_equal(drawn["value"], y[drawn["index"].astype(int)]), "exact after a second pass")
        session.save(os.path.join(folder, "s.weir"))
        check(session.problem == expected.problem, "the problem on every rank")
        inner = session.query(inner=expected if root else None)
        check(not root or abs(inner.inner.value - y @ y) <= inner.inner.bound, "inner product")
        raises(lambda: session.sample(metric="leverage"), "metric belongs to model=")
    raises(session.state, "was closed")

    # States that go round by themselves: pickle and + are enough for mpi4py.
    part = weir.Vector(n=1000, seed=7).update(keys[comm.rank :: 4], deltas[comm.rank :: 4])
    total = comm.reduce(part, op=MPI.SUM)
    check(not root or bytes(total) == bytes(expected), "reduce of states")

    # On a part of the ranks, and going on from a state.
    half = comm.Split(comm.rank % 2, comm.rank)
    start = expected if half.rank == 0 else None
    with weir.Session(half.py2f(), start, [stream]) as session:
        session.advance()
        state = session.state()
        check(half.rank != 0 or all(np.array_equal(numbers, 2 * expected.arrays()[name])
                                    for name, numbers in state.arrays().items()), "going on from a state")
    half.Free()

    # Fixed operands from files and arrays.
    a = np.random.default_rng(1).integers(-3, 4, (60, 4)).astype(float)
    x = np.arange(1.0, 5)
    path = os.path.join(folder, "a.npy")
    if root:
        np.save(path, a)
        with open(os.path.join(folder, "x.csv"), "w") as file:
            file.writelines(f"x,{j},{int(value)}\n" for j, value in enumerate(x))
        with open(os.path.join(folder, "edges.txt"), "w") as file:
            file.write("1 2\n1 3\n")
        with open(os.path.join(folder, "flows.csv"), "w") as file:
            file.write("src,dst,n\na,b,3\nc,b,-1\na,d,2\n")
    comm.Barrier()
    with weir.Session(comm, weir.Problem("product", fixed={"A": path}, seed=3), os.path.join(folder, "x.csv")) as session:
        session.advance()
        drawn = session.sample()
        check(not root or (drawn.verified and np.allclose(drawn["value"], (a @ x)[drawn["index"].astype(int)])), "verified")
    with weir.Session(comm, weir.Problem("product", fixed={"x": x}, n=60, seed=3), path, exact=True) as session:
        session.advance()
        drawn = session.sample(exact=True)
        check(not root or np.allclose(drawn["exact_value"], (a @ x)[drawn["index"].astype(int)]), "exact values beside")

    # Epochs.
    seen = []
    with weir.Session(comm, weir.Problem("vector", n=1000, seed=7), stream) as session:
        def at_epoch(epoch):
            found = session.query(norm=True)
            seen.append((epoch["updates"], epoch["final"], found is not None, epoch["all_updates"]))

        session.run(at_epoch, every=2000, window=2)
    if root:
        check([entry[0] for entry in seen][:2] == [2000, 4000] and seen[-1][1:] == (True, True, 6000), f"epochs: {seen}")
        check(len(seen) > 2 and seen[-1][0] < 6000, f"the window: {seen}")
        check(all(entry[2] for entry in seen), "answers at epochs")

    # Checkpoints: a run that ends early goes on, on two of the ranks.
    kept = os.path.join(folder, "checkpoints")
    with weir.Session(comm, weir.Problem("vector", n=1000), stream, checkpoint=kept) as session:
        def stop(epoch):
            if epoch["epoch"] == 4:
                raise ValueError("stopped")

        raises(lambda: session.run(stop, every=1000), "stopped")
        seed = session.problem.seed
    raises(lambda: weir.Session(comm, weir.Problem("vector", n=1000), stream, checkpoint=kept), "resume=True goes on")
    raises(lambda: weir.Session(comm, weir.Problem("vector", n=999), stream, checkpoint=kept, resume=True), "n")
    half = comm.Split(comm.rank // 2, comm.rank)
    if comm.rank < 2:
        epochs = []
        with weir.Session(half, weir.Problem("vector", n=1000.0), stream, checkpoint=kept, resume=True) as session:
            check(session.problem.seed == seed, "a problem without a seed takes that of the checkpoint")
            session.run(epochs.append, every=1000, checkpoint_every=500)
            state = session.state()
        if root:
            check(2 <= epochs[0]["epoch"] and epochs[-1]["all_updates"] == 6000, f"it went on: {epochs}")
            check("manifest-1.json" not in os.listdir(kept), "there are newer checkpoints")
            whole = weir.Vector(n=1000, seed=seed).update(keys, deltas)
            check(all(np.array_equal(numbers, whole.arrays()[name]) for name, numbers in state.arrays().items()),
                  "every event counts once")
    half.Free()
    comm.Barrier()

    # Errors are raised everywhere, and nobody waits.
    raises(lambda: weir.Session(comm, weir.Problem("vector", n=1000), os.path.join(folder, "missing.csv")), "missing.csv")
    raises(lambda: weir.Session(comm, weir.Problem("product", n=60)), "needs d, the length of x")
    raises(lambda: weir.Session(comm, None), "neither a problem nor a state")
    raises(lambda: weir.Session(comm, weir.Problem("product", fixed={"A": a})), "A is a matrix")
    raises(lambda: weir.Session("x", weir.Problem()), "expected a communicator")
    raises(lambda: weir.Session(comm, weir.Problem(), on_error="x"), "on_error")
    raises(lambda: weir.Session(comm, weir.Problem(), edges="x"), "edges is 'x'")
    raises(lambda: weir.Session(comm, weir.Problem(), resume=True), "resume=True belongs to checkpoint")
    raises(lambda: weir.Session(comm, weir.Problem(), checkpoint=folder + "/e", exact=True), "not part of checkpoints")
    with weir.Session(comm, weir.Problem("vector", n=1000, seed=1), stream) as session:
        raises(lambda: session.advance(events=1.5), "events is 1.5")
        raises(lambda: session.run(print, checkpoint_every=5), "checkpoint=DIRECTORY")
        session.advance(events=1e3)
        check(session.statistics()["updates"] == 1000, "1e3 events")
        raises(lambda: session.sample(verify=True), "verify=True, but nothing")
        raises(lambda: session.sample(exact=True), "a Session with exact=True")
        raises(lambda: session.sample(exact=expected), "expected True or False")
    with weir.Session(comm, weir.Problem("vector", n=1000, seed=1), os.path.join(folder, "edges.txt"), edges="both") as session:
        session.advance()
        found = session.query(points=[1, 2, 3])
        check(not root or found.points["value"].tolist() == [2, 1, 1], "degrees of 1-2, 1-3")
    flows = os.path.join(folder, "flows.csv")
    with weir.Session(comm, weir.Problem("vector", seed=1), flows, key="src", delta="n") as session:
        session.advance()
        found = session.query(points=["a", "c"], top=1)
        check(not root or np.allclose(found.points["value"], [5, -1]), "keys that are text")
        check(not root or found.points["name"].tolist() == ["a", "c"], "their names")
        state = session.state()
        check(not root or set(state.names.values()) == {"a", "c"}, "names of the state")
    with weir.Session(comm, weir.Problem("vector", seed=1), flows, key=["src", 2], delta=2.5) as session:
        session.advance()
        found = session.query(points=["a,b"])
        check(not root or np.allclose(found.points["value"], [2.5]), "two columns are one key")
    raises(lambda: weir.Session(comm, weir.Problem("vector"), flows, delta=1), "expected key=COLUMN")
    raises(lambda: weir.Session(comm, weir.Problem("vector"), flows, key="src", separator="ab"), "separator is 'ab'")
    with weir.Session(comm, weir.Problem("vector"), flows, key="other") as session:
        raises(session.advance, "no column is called 'other'")
    with weir.Session(comm, weir.Problem("vector", n=3, seed=1), stream) as session:
        raises(session.advance, "y.csv")
    with weir.Session(comm, weir.Problem("vector", n=3, seed=1), stream, on_error="skip") as session:
        session.advance()
        check(session.statistics()["skipped"] == int((keys >= 3).sum()), "skipped lines")
    with weir.Session(comm, weir.Problem("vector", n=1000), stream) as session:
        def fail(epoch):
            raise ValueError("on purpose")

        raises(lambda: session.run(fail, every=2000), "on purpose")
    comm.Barrier()
    if root:
        print("all is well")


class Ranks(Case):
    def setUp(self):
        super().setUp()
        if not MPIEXEC:
            self.skipTest("weir was built without MPI")
        try:
            import mpi4py  # noqa: F401
        except ImportError:
            self.skipTest("no mpi4py (Debian: python3-mpi4py)")

    def test_four_ranks(self):
        done = subprocess.run([*MPIEXEC, "4", sys.executable, os.path.abspath(__file__), self.folder], capture_output=True,
                              text=True, timeout=TIMEOUT)
        self.assertEqual((done.returncode, done.stdout), (0, "all is well\n"), done.stderr)
        keys, deltas, _ = events(6000, 1000, 4)
        self.assert_same_arrays(weir.load(self.path("s.weir")), weir.Vector(n=1000, seed=7).update(keys, deltas))
        self.assertEqual(json.loads(self.weir("sample", "--state", self.path("s.weir"), "--json").stdout)["updates"], 6000)

    def run_alone(self, code):
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ALONE, timeout=TIMEOUT)

    def test_the_package_alone_does_not_load_mpi(self):
        done = self.run_alone("import weir; weir.Vector(n=3).update(1).sample()\n"
                              "assert 'libmpi' not in open('/proc/self/maps').read()")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_without_mpi_running(self):
        done = self.run_alone("import weir\ntry: weir.Session(0, weir.Problem())\n"
                              "except ValueError as error: print(error)")
        self.assertIn("MPI is not running", done.stdout, done.stderr)

    def test_both_modules_share_what_is_registered(self):
        # Were there two registries, an operand that only one of them has named would be unknown to the other.
        done = self.run_alone("from mpi4py import MPI; import numpy as np, weir\n"
                              "a = weir.Attention(np.eye(2), np.eye(2), np.eye(2)); a.update_rows(None, np.eye(2), np.eye(2))\n"
                              "with weir.Session(MPI.COMM_SELF, a) as s: print(bytes(s.state()) == bytes(a))")
        self.assertEqual(done.stdout, "True\n", done.stderr)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        on_ranks(sys.argv[1])
    else:
        unittest.main()
