"""weir attend as a user runs it, against softmax attention by its definition."""

import math
import os
import random
import struct
import unittest

from harness import Case, as_npy, npy


def rows_of(file):
    """The rows of a .npy file of doubles that weir has written."""
    length = 10 + struct.unpack("<H", file[8:10])[0]
    shape = file[10:length].decode().split("(")[1].split(")")[0].split(",")
    rows, columns = int(shape[0]), int(shape[1])
    numbers = struct.unpack("<%dd" % (rows * columns), file[length:])
    return [list(numbers[i * columns:(i + 1) * columns]) for i in range(rows)]


def exact(queries, keys, values, scale, sees=None):
    """Softmax averages; `sees(t, j)` says whether query t sees token j."""
    outputs = []
    for t, q in enumerate(queries):
        seen = [j for j in range(len(keys)) if sees is None or sees(t, j)]
        scores = [scale * sum(a * b for a, b in zip(q, keys[j])) for j in seen]
        top = max(scores)
        weights = [math.exp(s - top) for s in scores]
        total = sum(weights)
        outputs.append([sum(w * values[j][c] for w, j in zip(weights, seen)) / total for c in range(len(values[0]))])
    return outputs


def distance(a, b):
    """Relative Frobenius error of b."""
    difference = sum((x - y) ** 2 for r, s in zip(a, b) for x, y in zip(r, s))
    return math.sqrt(difference / sum(x * x for r in a for x in r))


class Attend(Case):
    N, D, DV = 320, 6, 4

    def setUp(self):
        super().setUp()
        source = random.Random(1)
        normal = lambda rows, columns, deviation: [[source.gauss(0, deviation) for _ in range(columns)] for _ in range(rows)]
        self.queries, self.keys, self.values = normal(self.N, self.D, 1), normal(self.N, self.D, 1), normal(self.N, self.DV, 1)
        self.q = self.write("q.npy", as_npy(self.queries))
        self.k = self.write("k.npy", as_npy(self.keys))
        self.v = self.write("v.npy", as_npy(self.values))
        self.files = ["--q", self.q, "--k", self.k, "--v", self.v]
        self.scale = 1 / math.sqrt(self.D)

    def attend(self, *options, ranks=None, files=None, **more):
        """The JSON object and the outputs."""
        outcome = self.succeed("attend", *(self.files if files is None else files), "-o", self.path("o.npy"), "--json", *options,
                               ranks=ranks, **more)
        return outcome.json(), rows_of(self.read("o.npy"))

    def test_answers_and_what_it_says_about_them(self):
        answer, outputs = self.attend("--compare", "--errors", self.path("e.npy"))
        truth = exact(self.queries, self.keys, self.values, self.scale)
        error = distance(truth, outputs)
        # 64 KiB hold all these rows six times over: a state that is not far better than a tenth is broken.
        self.assertLess(error, 0.1)
        self.assertAlmostEqual(answer["error"]["relative_frobenius"], error, delta=1e-9)
        each = sorted(distance([t], [o]) for t, o in zip(truth, outputs))
        self.assertAlmostEqual(answer["error"]["max"], each[-1], delta=1e-9)
        self.assertEqual((answer["n"], answer["d"], answer["mode"], answer["updates"]), (self.N, self.D, "anisotropic", self.N))
        self.assertLessEqual(answer["state_bytes"], 65536)
        self.assertLessEqual(answer["calibration_bytes"], answer["state_bytes"])
        self.assertGreater(answer["features"], 0)
        for field in ("degree", "exact_rows", "clusters", "fallbacks", "peak_bytes"):
            self.assertGreaterEqual(answer[field], 0)
        for field in ("features", "ingest", "recover"):
            self.assertGreaterEqual(answer["seconds"][field], 0)
        self.assertEqual(set(answer["peers"]), {"uniform", "value_norm", "window", "random_features", "balance"})
        # All rows fit into the budget, and these peers keep them in floats.
        for peer in ("uniform", "value_norm", "window", "balance"):
            self.assertLess(answer["peers"][peer]["relative_frobenius"], 1e-5)
        errors = [row[0] for row in rows_of(self.read("e.npy"))]
        self.assertEqual(len(errors), self.N)
        self.assertEqual(max(errors), answer["estimated_error"]["max"])
        covered = sum(3 * e >= distance([t], [o]) for e, t, o in zip(errors, truth, outputs))
        self.assertGreaterEqual(covered, 0.99 * self.N)

    def test_exact_mode_is_exact(self):
        truth = exact(self.queries, self.keys, self.values, self.scale)
        for ranks in (None, 3):
            self.assertLess(distance(truth, self.attend("--mode", "exact", ranks=ranks)[1]), 1e-12)
        truth = exact(self.queries, self.keys, self.values, 2.0, lambda t, j: j <= t)
        self.assertLess(distance(truth, self.attend("--mode", "exact", "--causal", "--scale", "2")[1]), 1e-12)
        truth = exact(self.queries, self.keys, self.values, 1 / self.D, lambda t, j: t - 50 < j <= t)
        self.assertLess(distance(truth, self.attend("--mode", "exact", "--sliding", "50", "--scale", "dim")[1]), 1e-12)

    def test_any_number_of_ranks(self):
        for options in ((), ("--causal",), ("--sliding", "100")):
            alone = self.attend("--budget", "8KiB", *options)[1]
            for ranks in (2, 3, 4):
                with self.subTest(ranks=ranks, options=options):
                    self.assertLess(distance(alone, self.attend("--budget", "8KiB", *options, ranks=ranks)[1]), 1e-6)

    def test_causal_and_sliding(self):
        for options, sees in ((("--causal",), lambda t, j: j <= t), (("--sliding", "100"), lambda t, j: t - 100 < j <= t),
                              (("--causal", "--sliding", "7"), lambda t, j: t - 7 < j <= t)):
            answer, outputs = self.attend(*options, "--compare")
            error = distance(exact(self.queries, self.keys, self.values, self.scale, sees), outputs)
            self.assertLess(error, 0.1, options)
            self.assertAlmostEqual(answer["error"]["relative_frobenius"], error, delta=1e-9)
            self.assertLessEqual(answer["state_bytes"], 65536)

    def test_states_are_saved_continued_combined_and_asked(self):
        whole = self.attend("--save", self.path("whole.weir"))[1]
        from_state = self.attend(files=["--state", self.path("whole.weir"), "--q", self.q])[1]
        self.assertLess(distance(whole, from_state), 1e-12)
        # Rows that leave, as lines; then they come back.
        line = lambda i, star: "KV,%d,%s,%s\n" % (i, star, ",".join(repr(x) for x in self.keys[i] + self.values[i]))
        gone = self.write("gone.csv", "".join(line(i, "-*") for i in range(200, self.N)))
        back = self.write("back.csv", "".join(line(i, "*") for i in range(200, self.N)))
        for ranks in (None, 3):
            fewer = self.attend("--save", self.path("fewer.weir"), ranks=ranks,
                                files=["--state", self.path("whole.weir"), gone, "--q", self.q])[1]
            self.assertLess(distance(exact(self.queries, self.keys[:200], self.values[:200], self.scale), fewer), 0.1)
            again = self.attend(ranks=ranks, files=["--state", self.path("fewer.weir"), back, "--q", self.q])[1]
            self.assertLess(distance(whole, again), 1e-5)
        # The difference is the rows that left.
        self.succeed("combine", "-o", self.path("difference.weir"), "--add", self.path("whole.weir"), "--subtract", self.path("fewer.weir"))
        rest = self.attend(files=["--state", self.path("difference.weir"), "--q", self.q])[1]
        self.assertLess(distance(exact(self.queries, self.keys[200:], self.values[200:], self.scale), rest), 0.1)
        self.assertIn("attention", self.succeed("inspect", self.path("whole.weir")).out)
        self.fail_with(2, "sample", "--state", self.path("whole.weir"), naming="weir attend")
        self.fail_with(2, "query", "--state", self.path("whole.weir"), naming="weir attend")
        for option in (["--budget", "1MiB"], ["--scale", "2"], ["--calibrate", "9"], ["--clusters", "2"], ["--mode", "exact"]):
            self.fail_with(2, "attend", "--state", self.path("whole.weir"), "--q", self.q, *option, naming=[option[0], "--state"])
        self.attend("--calibrate", "100", "--save", self.path("other.weir"))
        self.fail_with(1, "combine", "-o", self.path("sum.weir"), "--add", self.path("whole.weir"), "--add", self.path("other.weir"),
                       naming="calibration")

    def test_heavy_tokens_that_leave(self):
        # What rounding leaves of them is larger than what stays, and the estimates say so.
        source, n, d, dv = random.Random(5), 1200, 4, 3
        normal = lambda middle: [source.gauss(m, 0.5) for m in middle]
        queries = [normal([4, 0, 0, 0]) for _ in range(n)]
        bursts = [normal([3 if i // 100 % 4 == 0 else -3, 0, 0, 0]) for i in range(n)]
        halves = [normal([4 if i < n // 2 else -4, 0, 0, 0]) for i in range(n)]
        values = [[source.gauss(1, 1) for _ in range(dv)] for _ in range(n)]
        q, v = self.write("hq.npy", as_npy(queries)), self.write("hv.npy", as_npy(values))
        covered = lambda truth, outputs: sum(
            3 * row[0] >= distance([t], [o]) for row, t, o in zip(rows_of(self.read("he.npy")), truth, outputs))
        k = self.write("hk.npy", as_npy(bursts))
        sliding = ["--sliding", "120", "--budget", "8KiB", "--errors", self.path("he.npy")]
        truth = exact(queries, bursts, values, 0.5, lambda t, j: t - 120 < j <= t)
        alone = None
        for ranks in (None, 2, 4):
            outputs = self.attend(*sliding, files=["--q", q, "--k", k, "--v", v], ranks=ranks)[1]
            self.assertGreaterEqual(covered(truth, outputs), 0.98 * n)
            alone = alone or outputs
            # To the bit, as segments of the stream are the same on any number of ranks.
            self.assertEqual(outputs, alone)
        rows = [a + b for a, b in zip(halves, values)]
        stream = self.write("h.csv", self.lines("KV", rows) + self.lines("KV", rows, 0, n // 2, "-*"))
        some = range(0, n, 6)
        calibration = self.write("hc.npy", as_npy([queries[i] + halves[i] + values[i] for i in some]))
        truth = exact(queries[:100], halves[n // 2:], values[n // 2:], 0.5)
        few = self.write("hfew.npy", as_npy(queries[:100]))
        for ranks in (None, 3):
            outputs = self.attend("--calibrate", calibration, "--budget", "8KiB", "--errors", self.path("he.npy"), ranks=ranks,
                                  files=["--q", few, stream, "--n", str(n), "--d", str(d), "--dv", str(dv)])[1]
            self.assertGreaterEqual(covered(truth, outputs), 98)

    def lines(self, name, rows, first=0, end=None, star="*"):
        return "".join("%s,%d,%s,%s\n" % (name, i, star, ",".join(repr(x) for x in rows[i]))
                       for i in range(first, len(rows) if end is None else end))

    def test_queries_keys_and_values_as_events(self):
        # A row that comes twice and leaves once is there once.
        again = lambda name, rows: self.lines(name, rows) + self.lines(name, rows, 5, 40) + self.lines(name, rows, 5, 40, "-*")
        q, k, v = (self.write(name + ".csv", again(name.upper(), rows))
                   for name, rows in (("q", self.queries), ("k", self.keys), ("v", self.values)))
        both = [a + b for a, b in zip(self.keys, self.values)]
        kv = self.write("kv.csv", again("KV", both))
        sizes = ["--n", str(self.N), "--d", str(self.D), "--dv", str(self.DV)]
        for mode in ("exact", "anisotropic", "paired", "collapsed", "paper"):
            options = ["--mode", mode] + (["--sparsity", str(self.N), "--m1", "4096"] if mode in ("collapsed", "paper") else [])
            expected = self.attend(*options)[1]
            for ranks in (None, 3):
                for files in (["--q", q, "--k", k, "--v", v], ["--q", q, "--k", self.k, "--v", self.v],
                              ["--q", self.q, kv, *sizes]):
                    with self.subTest(mode=mode, ranks=ranks, files=files):
                        self.assertLess(distance(expected, self.attend(*options, files=files, ranks=ranks)[1]), 1e-5)
        # What is compared with is made of the same events.
        answer, outputs = self.attend("--compare", files=["--q", q, kv, *sizes], ranks=2)
        truth = exact(self.queries, self.keys, self.values, self.scale)
        self.assertAlmostEqual(answer["error"]["relative_frobenius"], distance(truth, outputs), delta=1e-9)
        # Tokens that have left are not there.
        gone = self.write("gone.csv", self.lines("KV", both, 100, None, "-*"))
        left = self.attend("--mode", "exact", files=["--q", q, kv, gone, *sizes])[1]
        self.assertLess(distance(exact(self.queries, self.keys[:100], self.values[:100], self.scale), left), 1e-12)
        pipe = self.attend("--mode", "exact", files=["--q", q, "-", *sizes], ranks=2, stdin=self.lines("KV", both).encode())[1]
        self.assertLess(distance(truth, pipe), 1e-12)

    def test_events_that_are_refused(self):
        both = [a + b for a, b in zip(self.keys, self.values)]
        kv = self.write("kv.csv", self.lines("KV", both))
        sizes = ["--n", str(self.N), "--d", str(self.D), "--dv", str(self.DV)]
        hole = self.write("hole.csv", self.lines("Q", self.queries, 0, 7) + self.lines("Q", self.queries, 8))
        for mode in ("exact", "anisotropic", "paired", "direct"):
            self.fail_with(1, "attend", "--mode", mode, "--q", hole, "--k", self.k, "--v", self.v, naming="query 7 is not there")
        twice = self.write("twice.csv", self.lines("Q", self.queries) + self.lines("Q", self.queries, 3, 4))
        self.fail_with(1, "attend", "--q", twice, "--k", self.k, "--v", self.v, naming="query 3 came 2 times")
        twice = self.write("twice.csv", self.lines("KV", both) + self.lines("KV", both, 3, 4))
        self.fail_with(1, "attend", "--mode", "exact", "--q", self.q, twice, *sizes, naming="token 3 came 2 times")
        k, v = self.write("k.csv", self.lines("K", self.keys)), self.write("v.csv", self.lines("V", self.values, 1))
        self.fail_with(1, "attend", "--q", self.q, "--k", k, "--v", v, naming=["side by side", "v.csv", "row 1"])
        self.fail_with(1, "attend", "--q", self.q, "--k", v, "--v", k, naming=["v.csv", "no row of K"])
        self.fail_with(1, "attend", "--q", k, "--k", k, "--v", self.v, naming=["k.csv", "no row of Q"])
        bad = self.write("bad.csv", self.lines("K", self.keys, 0, 9) + "K,9,*,1,2,3,4,5,nan\n")
        self.fail_with(1, "attend", "--q", self.q, "--k", bad, "--v", self.v, naming=["bad.csv:10"], ranks=2)
        entry = self.write("entry.csv", "K,0,0,1\n")
        for mode in ("exact", "paper", "paired"):
            self.fail_with(1, "attend", "--mode", mode, "--q", self.q, "--k", entry, "--v", self.v, "--n", str(self.N),
                           "--d", str(self.D), naming=["entry.csv" if mode == "paired" else "K,0,0", "whole rows"])
        self.fail_with(1, "attend", "--mode", "exact", "--causal", "--q", self.q, "--k",
                       self.write("few.csv", self.lines("K", self.keys, 0, self.N - 1)), "--v", self.v,
                       naming="319 of 320 tokens")
        self.fail_with(2, "attend", "--compare", "--q", self.q, "-", *sizes, naming="a pipe cannot be read twice")
        self.fail_with(2, "attend", "--mode", "paper", "--q", "-", "--k", self.k, "--v", self.v, naming="--queries is needed")
        big = self.write("big.csv", "Q,4611686018427387904,*," + ",".join("1" * self.D) + "\n")
        self.fail_with(2, "attend", "--mode", "collapsed", "--q", big, "--k", self.k, "--v", self.v, naming="2^32")
        left = self.write("left.csv", self.lines("Q", self.queries) + self.lines("Q", self.queries, 4, 5, "-*"))
        self.fail_with(1, "attend", "--mode", "collapsed", "--mean-correct", "--q", left, "--k", self.k, "--v", self.v,
                       naming=["319 of 320 queries", "--mean-correct"])
        self.fail_with(1, "attend", "--q", self.q, "--k", self.k, "--v", self.v, "--n", str(self.N + 1), naming=["320 tokens", "--n", "321"])
        self.fail_with(1, "attend", "--q", self.q, "--k", self.k, "--v", self.v, "--queries", str(self.N + 1), naming=["320 queries", "--queries"])
        self.fail_with(2, "attend", "--q", self.q, "--k", self.k, "--v", self.v, "-o", self.path("o"), "--save", self.path("o"), naming="twice")
        junk = self.write("junk.csv", "junk\n" + self.lines("Q", self.queries))
        for mode in ("exact", "anisotropic", "paired", "collapsed"):
            self.succeed("attend", "--mode", mode, "--q", junk, "--k", self.k, "--v", self.v, "--on-error", "skip")
        # Queries, where only keys and values are expected, and keys after queries have begun.
        self.fail_with(1, "attend", "--mode", "paper", "--q", self.q, self.write("mixed.csv", self.lines("K", self.keys) + self.lines("Q", self.queries)),
                       *sizes, naming=["mixed.csv:321", "queries come after all keys and values"])
        late = self.write("late.csv", self.lines("Q", self.queries) + self.lines("K", self.keys))
        self.fail_with(1, "attend", "--mode", "paper", "--q", late, "--k", self.k, "--v", self.v,
                       naming=["late.csv:321", "keys and values come before"])

    def test_states_of_modes_with_monomials(self):
        both = [a + b for a, b in zip(self.keys, self.values)]
        sizes = ["--n", str(self.N), "--d", str(self.D), "--dv", str(self.DV), "--queries", str(self.N)]
        part = lambda name, rows, first, end, star="*": self.write("%s%d%d.csv" % (name, first, len(star)), self.lines(name, rows, first, end, star))
        half, q_half = self.N // 2, 100
        for mode in ("paper", "collapsed", "paired", "direct"):
            sparse = mode in ("paper", "collapsed")
            recovery = ["--sparsity", str(self.N)] if sparse else []
            phi = ["--m1", "4096"] if sparse else []
            options = ["--mode", mode, "--degree", "4"] + (["--m2", "5000", "--psi", "one_nonzero"] if mode == "paper" else [])
            expected = self.attend(*options, *recovery, *phi)[1]
            state = lambda name: self.path(name + ".weir")
            for name, first, end in (("first", 0, half), ("second", half, self.N)):
                files = [part("KV", both, first, end)]
                if mode == "paper":
                    files = ["--k", part("K", self.keys, first, end), "--v", part("V", self.values, first, end)]
                self.succeed("attend", *options, *files, *sizes, "--save", state(name), ranks=2 if first else None)
            self.succeed("combine", "-o", state("sum"), "--add", state("first"), "--add", state("second"))
            on = lambda *files, ranks=None: self.attend(*recovery, files=files, ranks=ranks)[1]
            mode_on = ["--mode", mode]
            with self.subTest(mode=mode):
                self.assertLess(distance(expected, on("--state", state("sum"), *mode_on, *phi, "--q", self.q, ranks=3)), 1e-5)
                rest = part("KV", both, half, self.N)
                self.assertLess(distance(expected, on("--state", state("first"), rest, *mode_on, *phi, "--q", self.q)), 1e-5)
                self.succeed("combine", "-o", state("less"), "--add", state("sum"), "--subtract", state("second"))
                self.assertLess(distance(on("--state", state("first"), *mode_on, *phi, "--q", self.q),
                                         on("--state", state("less"), *mode_on, *phi, "--q", self.q)), 1e-4)
                self.assertIn("attention", self.succeed("inspect", state("sum")).out)
                self.fail_with(2, "sample", "--state", state("sum"), naming="weir attend")
                for option in (["--degree", "2"], ["--scale", "2"], ["--centre"], ["--m2", "9"]):
                    self.fail_with(2, "attend", "--state", state("sum"), "--q", self.q, *option, naming=[option[0], "--state"])
                self.fail_with(2, "attend", "--state", state("sum"), "--q", self.q, "--mode", "anisotropic", naming=["--state", "anisotropic"])
                if not sparse:
                    continue
                # What queries have come to is a state as well: it goes on with queries, and no longer with keys.
                some, others = part("Q", self.queries, 0, q_half), part("Q", self.queries, q_half, self.N)
                leave = part("Q", self.queries, q_half, self.N, "-*")
                begun = ["--state", state("sum"), *mode_on, *phi, "--queries", str(self.N)]
                self.succeed("attend", *begun, "--q", some, "--save", state("some"), ranks=2)
                self.succeed("attend", *begun, "--q", others, "--save", state("others"))
                self.assertLess(distance(expected, on("--state", state("some"), "--q", others, ranks=2)), 1e-5)
                self.succeed("combine", "-o", state("all"), "--add", state("some"), "--add", state("others"))
                self.assertLess(distance(expected, on("--state", state("all"))), 1e-5)
                left = on("--state", state("all"), "--q", leave, ranks=2)
                self.assertLess(distance(expected[:q_half], left[:q_half]), 1e-5)
                self.assertLess(max(abs(x) for row in left[q_half:] for x in row), 1e-5)
                self.fail_with(2, "attend", "--state", state("some"), rest, "--q", others, naming="keys and values come before")
                self.fail_with(1, "attend", "--state", state("some"), "--q", part("K", self.keys, 0, 5), naming=["K050"[:2], "Q"])
                self.fail_with(2, "attend", "--state", state("some"), "--q", others, "--m1", "100", naming=["--m1", "begun"])
                self.fail_with(1, "combine", "-o", state("x"), "--add", state("some"), "--add", state("sum"), naming="do not combine")
                # Outputs by other keys.
                self.succeed("attend", "--state", state("first"), *mode_on, *phi, "--queries", str(self.N), "--q", some, "--save", state("other"))
                self.fail_with(1, "combine", "-o", state("x"), "--add", state("some"), "--add", state("other"), naming="M")
                self.assertIn("outputs", self.succeed("inspect", state("some")).out)

    def test_memory_is_that_of_the_state_that_goes_on(self):
        # Wide keys, so that features fill the budget. The default budget is 64 KiB.
        rows = [[math.sin(i * j + j) for j in range(64)] for i in range(64)]
        wide, values = self.write("wide.npy", as_npy(rows)), self.write("few.npy", as_npy(self.values[:64]))
        made, whole = self.attend("--budget", "24MiB", "--no-auto", "--exact-rows", "0", "--save", self.path("wide.weir"),
                                  files=["--q", wide, "--k", wide, "--v", values])
        self.assertGreater(made["state_bytes"], 16 << 20)
        asked, again = self.attend(files=["--state", self.path("wide.weir"), "--q", wide])
        self.assertLess(distance(whole, again), 1e-12)
        # It is held, broadcast as doubles, and copied: five times its bytes at least.
        self.assertGreater(asked["peak_bytes"], 5 * asked["state_bytes"])
        self.assertGreater(made["peak_bytes"], 5 * made["state_bytes"])

    def test_streams_and_calibration_from_a_file(self):
        lines = self.write("kv.csv", "".join("KV,%d,*,%s\n" % (i, ",".join(repr(x) for x in k + v))
                                             for i, (k, v) in enumerate(zip(self.keys, self.values))))
        calibration = self.write("c.npy", as_npy([q + k + v for q, k, v in zip(self.queries, self.keys, self.values)]))
        sizes = ["--n", self.N, "--d", self.D, "--dv", self.DV]
        from_lines = self.attend(files=[lines, "--q", self.q, *sizes, "--calibrate", calibration])[1]
        self.assertLess(distance(exact(self.queries, self.keys, self.values, self.scale), from_lines), 0.1)
        with open(lines, "rb") as file:
            text = file.read()
        self.succeed("attend", "-", "--q", self.q, *sizes, "--calibrate", calibration, "-o", self.path("p.npy"), stdin=text)
        self.assertLess(distance(from_lines, rows_of(self.read("p.npy"))), 1e-6)
        self.fail_with(2, "attend", "-", "--q", self.q, *sizes, naming="--calibrate", stdin=text)
        self.fail_with(2, "attend", lines, "--q", self.q, naming="--n")
        self.fail_with(1, "attend", lines, "--q", self.q, *sizes, "--calibrate", self.q, naming=["q.npy", "expected rows of a query and a key"])

    def test_small_and_strange_inputs(self):
        one = ["--q", self.write("q1.npy", as_npy([[0.5]])), "--k", self.write("k1.npy", as_npy([[2.0]])), "--v", self.write("v1.npy", as_npy([[3.0]]))]
        for options in ((), ("--causal",), ("--mode", "exact")):
            self.assertAlmostEqual(self.attend(*options, files=one)[1][0][0], 3.0, delta=1e-6)
        # Equal keys: the mean of the values. Zero queries: the same.
        same = self.write("same.npy", as_npy([[1.0] * self.D] * self.N))
        zero = self.write("zero.npy", as_npy([[0.0] * self.D] * self.N))
        mean = [[sum(v[c] for v in self.values) / self.N for c in range(self.DV)]] * self.N
        self.assertLess(distance(mean, self.attend(files=["--q", self.q, "--k", same, "--v", self.v])[1]), 1e-4)
        self.assertLess(distance(mean, self.attend(files=["--q", zero, "--k", self.k, "--v", self.v])[1]), 1e-4)
        # Constant values come out as they are.
        constant = self.write("constant.npy", as_npy([[2.5, -1.0]] * self.N))
        outputs = self.attend(files=["--q", self.q, "--k", self.k, "--v", constant])[1]
        self.assertLess(distance([[2.5, -1.0]] * self.N, outputs), 1e-6)

    def test_half_precision_and_integers(self):
        halves = self.write("half.npy", npy("<f2", self.keys, b"".join(struct.pack("<%de" % self.D, *row) for row in self.keys)))
        outputs = self.attend(files=["--q", self.q, "--k", halves, "--v", self.v])[1]
        rounded = [list(struct.unpack("<%de" % self.D, struct.pack("<%de" % self.D, *row))) for row in self.keys]
        self.assertLess(distance(exact(self.queries, rounded, self.values, self.scale), outputs), 0.1)

    def test_polynomial_modes(self):
        # Small scores, so that degree 4 leaves e^R R^5 / 5!, with R = 2 about 2; what is seen is far less.
        options = ["--scale", "0.1", "--degree", "4", "--centre"]
        truth = exact(self.queries, self.keys, self.values, 0.1)
        direct, outputs = self.attend("--mode", "direct", *options, "--compare")
        self.assertLess(distance(truth, outputs), 0.01)
        self.assertAlmostEqual(direct["error"]["relative_frobenius"], distance(truth, outputs), delta=1e-9)
        # All monomials of degree 4 at most in 6 variables.
        self.assertEqual(direct["features"], math.comb(self.D + 4, 4))
        for ranks in (None, 3):
            self.assertLess(distance(outputs, self.attend("--mode", "paired", *options, ranks=ranks)[1]), 1e-6)
        # All rows are recovered: a sketch of many more buckets than rows holds them without a collision in most of its rows.
        whole = self.attend("--mode", "collapsed", *options, "--sparsity", self.N, "--m1", 5 * 16384)[1]
        self.assertLess(distance(outputs, whole), 1e-5)
        sketches = ["--sparsity", 20, "--m1", 5 * 256, "--m2", 300, "--seed", 5]
        for more in ((), ("--mean-correct",), ("--row-recovery",), ("--psi", "one_nonzero")):
            paper, sparse = self.attend("--mode", "paper", *options, *sketches, *more)
            self.assertEqual((paper["m1"], paper["m2"], paper["sparsity"]), (1280, 300, 20))
            # The same sketch, factored or not: rounding of floats in sums of 320 terms, on outputs that cancel.
            self.assertLess(distance(sparse, self.attend("--mode", "collapsed", *options, *sketches, *more)[1]), 1e-3, more)
            self.assertLess(distance(sparse, self.attend("--mode", "paper", *options, *sketches, *more, ranks=3)[1]), 1e-3, more)
        self.succeed("attend", *self.files, "--mode", "collapsed", *options, "--sparsity", 3, "--m1", 5 * 16384, "-o", self.path("o.mtx"))
        lines = self.read("o.mtx").decode().splitlines()
        self.assertEqual(lines[:2], ["%%MatrixMarket matrix coordinate real general", "%d %d %d" % (self.N, self.DV, 3 * self.DV)])
        self.assertEqual(len(lines), 2 + 3 * self.DV)
        # The three largest entries of each column, as all others are seen without collisions.
        for column in range(self.DV):
            largest = sorted(range(self.N), key=lambda i: -abs(outputs[i][column]))[:3]
            found = {int(i) - 1 for i, j, _ in map(str.split, lines[2:]) if int(j) == column + 1}
            self.assertGreaterEqual(len(found & set(largest)), 2)

    def test_a_state_too_large_is_refused_with_the_sizes(self):
        wide = self.write("wide.npy", as_npy([[0.5] * 200] * 3))
        values = self.write("three.npy", as_npy([[1.0]] * 3))
        outcome = self.weir("attend", "--mode", "direct", "--degree", "12", "--q", wide, "--k", wide, "--v", values)
        self.assertEqual(outcome.code, 2)
        self.assertIn("g = 2: r = %d" % math.comb(202, 2), outcome.err.replace(",", ""))

    def test_what_cannot_be_is_refused(self):
        fewer = self.write("fewer.npy", as_npy(self.values[:-1]))
        wide = self.write("wide.npy", as_npy([q + [1.0] for q in self.queries]))
        bad = [list(row) for row in self.keys]
        bad[7][2] = float("nan")
        bad = self.write("nan.npy", as_npy(bad))
        usage = [
            (["--q", self.q], "nothing to attend to"),
            (["--q", self.q, "--k", self.k], "--v"),
            (["--k", self.k, "--v", self.v], "--q"),
            (self.files + ["--budget", "100"], "budget"),
            (self.files + ["--budget", "12TiB"], "--budget"),
            (self.files + ["--scale", "big"], "--scale"),
            (self.files + ["--mode", "other"], "--mode"),
            (self.files + ["--mode", "paper", "--causal"], "--mode paper"),
            (self.files + ["--mode", "paper", "--clusters", "3"], "--clusters"),
            (self.files + ["--mode", "paired", "--sparsity", "3", "--m1", "30"], "--m1"),
            (self.files + ["--centre"], "--centre"),
            (self.files + ["--degree", "13"], "--degree 13"),
            (self.files + ["-o", self.path("o.mtx")], "dense"),
            (self.files + ["--mode", "paper", "--mean-correct", "-o", self.path("o.mtx")], ".npy"),
            (self.files + ["--window", "3"], "--causal"),
            (self.files + ["--causal", "--window", "100000"], "--window 100000"),
            (self.files + ["--causal", "--save", self.path("s.weir")], "--save"),
            (self.files + ["--mode", "exact", "--save", self.path("s.weir")], "--mode exact"),
        ]
        for arguments, text in usage:
            with self.subTest(arguments=arguments):
                self.fail_with(2, "attend", *arguments, naming=text)
        inputs = [
            (["--q", self.q, "--k", self.k, "--v", fewer], ["fewer.npy", "319", "320"]),
            (["--q", wide, "--k", self.k, "--v", self.v], ["wide.npy", "7", "6"]),
            (["--q", self.q, "--k", bad, "--v", self.v], ["nan.npy", "row 7"]),
            (["--q", bad, "--k", self.k, "--v", self.v], ["nan.npy", "row 7"]),
            (["--q", self.path("none.npy"), "--k", self.k, "--v", self.v], ["none.npy"]),
            (self.files + ["-o", "/nowhere/o.npy"], ["/nowhere/o.npy"]),
            (self.files + ["--d", "9"], ["6", "9"]),
            (["--state", self.q, "--q", self.q], ["q.npy"]),
        ]
        for arguments, texts in inputs:
            for ranks in (None, 2):
                with self.subTest(arguments=arguments, ranks=ranks):
                    self.fail_with(1, "attend", *arguments, naming=texts, ranks=ranks)
        self.assertFalse(os.path.exists(self.path("s.weir")))


if __name__ == "__main__":
    unittest.main()
