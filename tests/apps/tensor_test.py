"""Acceptance tests of --model kronecker, by all methods, and --model rows. harness.py says what they need."""

import math
import os
import random
import unittest

from harness import Case, as_npy, without_times

N1, N2, D1, D2, SEED = 60, 45, 3, 4, 11


def multiply(a, b):
    return [[sum(x * y for x, y in zip(row, column)) for column in zip(*b)] for row in a]


def transpose(a):
    return [list(column) for column in zip(*a)]


def entry_events(operand, matrix, source):
    """Changes of entries that add up to the matrix: each comes in parts, some of them taken back."""
    parts = []
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            parts += [(i, j, value - 5), (i, j, 12), (i, j, -7)]
    source.shuffle(parts)
    return "".join("%s,%d,%d,%d\n" % (operand, *part) for part in parts)


def row_events(operand, matrix, weight="*"):
    return "".join("%s,%d,%s,%s\n" % (operand, i, weight, ",".join(map(str, row))) for i, row in enumerate(matrix))


def squared_norm(matrix):
    return sum(value * value for row in matrix for value in row)


class Kronecker(Case):
    """Whole-valued operands, so that every way to the same matrix must end in the same bits."""

    def setUp(self):
        super().setUp()
        source = random.Random(3)
        self.a1 = [[source.randrange(-3, 4) for _ in range(D1)] for _ in range(N1)]
        self.a2 = [[source.randrange(-3, 4) for _ in range(D2)] for _ in range(N2)]
        self.a1[17] = [60 * value + 50 for value in self.a1[17]]
        self.a2[30] = [40 * value + 30 for value in self.a2[30]]
        self.x = [[2, -1, 0, 1], [0, 3, 1, 0], [1, 0, -2, 1]]
        self.y = multiply(multiply(self.a1, self.x), transpose(self.a2))
        self.total = squared_norm(self.y)
        self.fixed = {"A1": "A1=" + self.write("a1.npy", as_npy(self.a1)), "A2": "A2=" + self.write("a2.npy", as_npy(self.a2)),
                      "X": "X=" + self.write("x.npy", as_npy(self.x))}
        self.a1_entries = self.write("a1.csv", entry_events("A1", self.a1, source))
        self.a1_rows = self.write("a1_rows.csv", row_events("A1", self.a1))
        self.a2_entries = self.write("a2.csv", entry_events("A2", self.a2, source))
        self.x_entries = self.write("x.csv", entry_events("X", self.x, source))
        self.options = ["--model", "kronecker", "--seed", SEED, "--json"]
        self.sides = ["--n1", N1, "--n2", N2, "--d1", D1, "--d2", D2]

    def fix(self, *names):
        return [argument for name in names for argument in ("--fixed", self.fixed[name])]

    def sample(self, *arguments, **options):
        return self.succeed("sample", *self.options, *arguments, **options).json()

    def drawn(self, answer):
        return [(sample["lane"], tuple(sample["index"])) for sample in answer["samples"]], answer["failed"], answer["norm"]

    def assert_exact(self, sample):
        i1, i2 = sample["index"]
        self.assertEqual(sample["value"], self.y[i1][i2])
        self.assertAlmostEqual(sample["probability"], self.y[i1][i2] ** 2 / self.total, places=12)

    def test_streaming_draws_the_same_for_all_rank_counts_and_values_are_exact(self):
        settings = {"A1": [self.fix("A2", "X") + ["--n1", N1, stream] for stream in (self.a1_entries, self.a1_rows, self.path("a1.npy"))],
                    "A2": [self.fix("A1", "X") + ["--n2", N2, stream] for stream in (self.a2_entries, self.path("a2.npy"))]}
        for streamed, ways in settings.items():
            reference = None
            for ranks in (None, 2, 3, 4):
                for way in ways:
                    with self.subTest(streamed=streamed, ranks=ranks, way=way):
                        answer = self.sample(*way, ranks=ranks)
                        reference = reference or self.drawn(answer)
                        self.assertEqual(self.drawn(answer), reference)
                        self.assertEqual((answer["method"], answer["shape"], answer["verified"]), ("streaming", [N1, N2], True))
                        self.assertTrue(answer["samples"])
                        for sample in answer["samples"]:
                            self.assert_exact(sample)
                        self.assertAlmostEqual(answer["exact_norm"], math.sqrt(self.total), places=6)
                        tensor = answer["norm_tensor"]
                        self.assertLessEqual(abs(tensor["value"] - answer["exact_norm"]), tensor["bound"])

    def test_two_stage_draws_the_same_however_operands_come(self):
        streams = [[*self.sides, self.a1_entries, self.a2_entries, self.x_entries],
                   [*self.sides, self.write("all.csv", "".join(self.read(name).decode() for name in ("x.csv", "a2.csv", "a1.csv")))],
                   self.fix("A2") + ["--method", "two-stage", "--n1", N1, "--d1", D1, self.a1_rows, self.x_entries],
                   self.fix("A1", "A2", "X"),
                   self.fix("A1", "A2") + [self.x_entries]]
        reference = self.drawn(self.sample(*streams[0]))
        self.assertTrue(reference[0])
        for ranks in (None, 2, 4):
            for stream in streams:
                with self.subTest(ranks=ranks, stream=stream):
                    answer = self.sample(*stream, ranks=ranks)
                    self.assertEqual(self.drawn(answer), reference)
                    self.assertEqual((answer["method"], answer["shape"], answer["verified"]), ("two-stage", [N1, N2], False))

    def test_operands_are_merged_before_they_are_multiplied(self):
        # Each file is short: with several ranks, the operands are on different ones, and no rank has all of any.
        files = [self.write("%s%d.csv" % (name, k), "%s,%d,0,%d\n" % (name, k, 2 + k))
                 for name, count in (("A1", 2), ("A2", 2), ("X", 1)) for k in range(count)]
        files.append(self.write("more.csv", "X,0,0,1\n"))
        # A1 = (2, 3), A2 = (2, 3), X = 3.
        for ranks in (None, 2, 4):
            answer = self.sample("--n1", 2, "--n2", 2, "--d1", 1, "--d2", 1, "--exact-check", *files, ranks=ranks)
            self.assertAlmostEqual(answer["exact_norm"], 39, places=9)
            self.assertTrue(answer["samples"])
            for sample in answer["samples"]:
                i1, i2 = sample["index"]
                self.assertEqual(sample["exact"]["value"], 3 * (2 + i1) * (2 + i2))

    def test_exact_method(self):
        for ranks in (None, 3):
            answer = self.sample("--method", "exact", "--samples", 50, *self.sides, self.a1_entries, self.a2_entries, self.x_entries, ranks=ranks)
            self.assertEqual((answer["method"], answer["verified"], len(answer["samples"])), ("exact", True, 50))
            for sample in answer["samples"]:
                self.assert_exact(sample)
        same = self.sample("--sampler", "exact", "--samples", 50, *self.fix("A1", "A2", "X"))
        self.assertEqual(self.drawn(same), self.drawn(answer))

    def test_x_is_the_identity_until_an_event_of_it_comes(self):
        square = "A2=" + self.write("square.npy", as_npy([row[:D1] for row in self.a2]))
        y = multiply(self.a1, transpose([row[:D1] for row in self.a2]))
        answer = self.sample("--fixed", square, "--n1", N1, self.a1_rows)
        self.assertEqual(answer["method"], "streaming")
        self.assertTrue(answer["samples"])
        for sample in answer["samples"]:
            self.assertEqual(sample["value"], y[sample["index"][0]][sample["index"][1]])
        two_stage = ["--method", "two-stage", "--fixed", square, "--n1", N1, "--d1", D1, "--exact-check", self.a1_rows]
        for sample in self.sample(*two_stage)["samples"]:
            self.assertEqual(sample["exact"]["value"], y[sample["index"][0]][sample["index"][1]])
        zero = self.write("zero.csv", "X,0,0,5\nX,0,0,-5\n")
        outcome = self.weir("sample", *self.options, *two_stage, zero)
        self.assertEqual(outcome.code, 3, outcome.err)
        self.assertEqual(outcome.json()["reason"], "zero vector")
        self.fail_with(2, "sample", *self.options, *self.fix("A2"), "--n1", N1, "--d1", D1, self.a1_rows, naming=["identity", "--fixed X"])

    def test_draws_that_are_verified_to_be_zero_are_none(self):
        # Eight buckets for a few entries of 10^4, and no threshold: most lanes draw entries that are made up by collisions.
        stream = self.write("few.csv", "".join("A1,%d,0,%d\n" % (i, 3 + i) for i in (3, 20, 41, 66, 90)))
        few = "A2=" + self.write("few.npy", as_npy([[i % 20 == 0] for i in range(100)]))
        options = ["--fixed", few, "--n1", 100, "--samples", 15, "--lanes", 16, "--buckets", 8, "--threshold", 0, stream]
        estimates = self.sample(*options, "--no-verify")["samples"]
        made_up = [sample for sample in estimates if sample["index"][0] not in (3, 20, 41, 66, 90) or sample["index"][1] % 20]
        self.assertTrue(made_up)
        answer = self.sample(*options)
        self.assertEqual(len(answer["samples"]), len(estimates) - len(made_up))
        self.assertLessEqual({sample["lane"] for sample in made_up}, {lane["lane"] for lane in answer["failed"] if lane["reason"] == "no_candidate"})
        for sample in answer["samples"]:
            self.assertEqual(sample["value"], 3 + sample["index"][0])

    def test_rows_that_leave_are_gone(self):
        gone = self.write("gone.csv", row_events("A1", self.a1, "-*"))
        one = self.write("one.csv", "A1,5,*,1,1,1\n")
        for setting in (self.fix("A2", "X"), [*self.fix("A2", "X"), "--method", "two-stage"],
                        [*self.fix("A2", "X"), "--method", "two-stage", "--gram", "exact"]):
            for ranks in (None, 3):
                outcome = self.weir("sample", *self.options, *setting, "--n1", N1, self.a1_rows, gone, ranks=ranks)
                self.assertEqual(outcome.code, 3, outcome.err)
                self.assertEqual(outcome.json()["reason"], "zero vector")
                answer = self.sample(*setting, "--n1", N1, "--failure", "0.001", self.a1_rows, gone, one, ranks=ranks)
                self.assertEqual({sample["index"][0] for sample in answer["samples"]}, {5})

    def test_standard_input_reaches_all_ranks(self):
        arguments = [*self.fix("A2", "X"), "--n1", N1, "-"]
        text = self.read("a1_rows.csv")
        reference = self.sample(*arguments, stdin=text)
        for ranks in (2, 3):
            answer = self.sample(*arguments, stdin=text, ranks=ranks)
            self.assertEqual(without_times(answer), without_times(reference))

    def test_states_go_on_and_combine(self):
        first, second = self.write("first.csv", row_events("A1", self.a1[:30])), self.write(
            "second.csv", "".join(line + "\n" for line in row_events("A1", self.a1).splitlines()[30:]))
        for setting, method in ((self.fix("A2", "X"), []), (self.fix("A2", "X"), ["--method", "two-stage"])):
            whole = self.sample(*setting, *method, "--n1", N1, "--no-verify", first, second)
            state, other = self.path("first.weir"), self.path("other.weir")
            self.sample(*setting, *method, "--n1", N1, first, "--save", state, ranks=2)
            self.assertIn("kronecker", self.succeed("inspect", state).out)
            more = [*self.options, "--state", state, "--failure", "0.05"]
            if not method:
                answer = self.succeed("sample", *more, *setting, second, ranks=3).json()
                self.assertEqual(self.drawn(answer), self.drawn(whole))
                self.sample(*setting, "--n1", N1, second, "--save", other)
                self.succeed("combine", "-o", self.path("sum.weir"), "--add", state, "--add", other)
                answer = self.succeed("sample", "--state", self.path("sum.weir"), "--json").json()
                self.assertEqual(self.drawn(answer), self.drawn(whole))
                self.assertEqual((answer["shape"], answer["method"]), ([N1, N2], "streaming"))
            else:
                answer = self.succeed("sample", *more, *method, second).json()
                self.assertEqual(self.drawn(answer), self.drawn(whole))
                answer = self.succeed("query", "--state", state, "--norm", "--top", 3, "--point", "3:4", "--json").json()
                self.assertEqual(len(answer["top"]), 3)
            self.fail_with(2, "sample", "--state", state, "--n2", N2 + 1, naming=["--n2", str(N2)])

    def test_states_refuse_what_they_are_not_for(self):
        y, operands = self.path("y.weir"), self.path("operands.weir")
        self.sample(*self.fix("A2", "X"), "--n1", N1, self.a1_rows, "--save", y)
        self.sample(*self.sides, "--gram-buckets", 512, self.a1_entries, self.a2_entries, self.x_entries, "--save", operands)
        more = [*self.options, *self.fix("A2", "X"), "--n1", N1, self.a1_rows]
        for arguments, naming in ((["--state", operands, "--exact-check", self.a1_rows], "--exact-check"),
                                  (["--state", y, "--method", "two-stage"], "--method"),
                                  (["--state", y, "--gram", "exact"], "--gram"),
                                  (["--state", operands, *more], "two-stage"),
                                  (["--state", operands, "--gram", "exact"], "--gram exact"),
                                  (["--state", operands, "--gram-buckets", 256], "512"),
                                  (["--state", operands, "--without-replacement"], "--without-replacement")):
            for ranks in (None, 2):
                with self.subTest(arguments=arguments, ranks=ranks):
                    self.fail_with(2, "sample", *arguments, naming=naming, ranks=ranks)

    def test_fixed_operands_are_kept_once(self):
        target, first, second = self.path("sum.weir"), self.path("first.weir"), self.path("second.weir")
        halves = [self.write("half%d.csv" % k, row_events("A1", self.a1[:30]) if k == 0 else
                             "".join("A1,%d,*,%s\n" % (i, ",".join(map(str, row))) for i, row in enumerate(self.a1) if i >= 30)) for k in range(2)]
        combined = self.write("combined.csv", row_events("A1", [[value * (1 if i < 30 else -3) for value in row] for i, row in enumerate(self.a1)]))
        two_stage = ["--method", "two-stage"]
        setting = [*two_stage, *self.fix("A2", "X"), "--n1", N1]
        for gram, coefficient, whole in (([], -3, combined), (["--gram", "exact"], 1, self.a1_rows)):
            self.sample(*setting, *gram, halves[0], "--save", first, ranks=3)
            self.sample(*setting, *gram, halves[1], "--save", second)
            reference = self.drawn(self.sample(*setting, *gram, whole))
            self.succeed("combine", "-o", target, "--add", first, "--scaled", coefficient, second)
            for ranks in (None, 2):
                self.assertEqual(self.drawn(self.succeed("sample", "--state", target, "--json", ranks=ranks).json()), reference)
        held = self.succeed("inspect", target, "--json").json()
        self.assertEqual((held["fixed"], held["x_events"], held["updates"]), (["A2", "X"], D1, N1))
        self.assertRegex(self.succeed("inspect", target).out, r"fixed +A2, X\n")
        self.fail_with(1, "combine", "-o", target, "--scaled", 2, first, naming=[first, "come and go whole"])
        self.fail_with(1, "combine", "-o", target, "--subtract", first, naming=[first, "come before they go"])
        outcome = self.succeed("combine", "-o", target, "--add", first, "--subtract", first)
        self.assertEqual(outcome.err, "")  # y cancels, as asked for.
        self.assertEqual(self.weir("sample", "--state", target).code, 3)

        # X streams alone, so that exact Gram matrices scale as well.
        twice = self.write("twice.csv", row_events("X", [[2 * value for value in row] for row in self.x]))
        for gram in ([], ["--gram", "exact"]):
            setting = [*two_stage, *gram, *self.fix("A1", "A2")]
            self.sample(*setting, self.x_entries, "--save", first)
            self.succeed("combine", "-o", target, "--scaled", 2, first)
            self.assertEqual(self.drawn(self.succeed("sample", "--state", target, "--json").json()), self.drawn(self.sample(*setting, twice)))

    def test_states_of_other_fixed_operands_do_not_combine(self):
        target, state, other = self.path("sum.weir"), self.path("state.weir"), self.path("other.weir")
        combine = ["combine", "-o", target, "--add", state, "--add", other]
        setting = ["--method", "two-stage", "--n1", N1, "--d1", D1, self.a1_rows]
        self.sample(*setting, *self.fix("A2"), self.x_entries, "--save", state)
        self.sample(*setting, *self.fix("A2", "X"), "--save", other)
        self.fail_with(1, *combine, naming=[state, other, "X: streamed against fixed"])
        self.sample(*setting, "--n2", N2, "--d2", D2, self.a2_entries, self.x_entries, "--save", other)
        self.fail_with(1, *combine, naming=[state, other, "A2: fixed against streamed"])
        self.a2[3][1] += 1
        self.sample(*setting, "--fixed", "A2=" + self.write("changed.npy", as_npy(self.a2)), self.x_entries, "--save", other)
        self.fail_with(1, *combine, naming=[state, other, "A2: fixed in both, and not the same"])
        self.sample("--method", "two-stage", *self.fix("A1", "A2", "X"), "--save", state)
        self.fail_with(1, "combine", "-o", target, "--scaled", 2, state, naming=[state, "A1, A2, X", "none streamed"])
        # X, which alone streams, has had no event.
        square = "A2=" + self.write("square.npy", as_npy([row[:D1] for row in self.a2]))
        self.sample("--method", "two-stage", *self.fix("A1"), "--fixed", square, "--save", state)
        for term in (["--scaled", 2], ["--subtract"]):
            self.fail_with(1, "combine", "-o", target, *term, state, naming=[state, "X", "identity"])
        self.fail_with(1, "combine", "-o", target, "--add", state, "--add", state, naming=[state, "X", "identity"])
        self.assertFalse(os.path.exists(target))
        self.succeed("combine", "-o", target, "--add", state)

    def test_no_event_changes_a_fixed_operand(self):
        state = self.path("state.weir")
        go_on = ["sample", "--state", state, "--model", "kronecker", "--json"]
        self.sample("--method", "two-stage", "--n1", N1, *self.fix("A2", "X"), self.a1_rows, "--save", state)
        for stream in (self.a2_entries, self.x_entries):
            for ranks in (None, 3):
                self.fail_with(1, *go_on, stream, ranks=ranks,
                               naming=[stream + ":", "which takes A1", "fixed in the saved state: A2, X"])
        # A file of numbers is of the operand that streams.
        nothing = self.write("nothing.csv", "A2,0,0,1\nA2,0,0,-1\n")
        self.weir("sample", *self.options, "--method", "two-stage", "--n2", N2, *self.fix("A1", "X"), nothing, "--save", state)
        reference = self.drawn(self.sample("--method", "two-stage", *self.fix("A1", "A2", "X")))
        for ranks in (None, 2):
            self.assertEqual(self.drawn(self.succeed(*go_on, self.path("a2.npy"), ranks=ranks).json()), reference)
        self.sample("--method", "two-stage", *self.fix("A1", "A2", "X"), "--save", state)
        for ranks in (None, 2):
            self.fail_with(2, *go_on, self.a1_rows, ranks=ranks, naming=[state, "A1, A2 and X, all of them fixed"])
            for method in ("two-stage", "exact"):
                self.fail_with(2, "sample", *self.options, "--method", method, *self.fix("A1", "A2", "X"), self.a1_rows, ranks=ranks,
                               naming="nothing streams")

    def test_inner_products_that_cannot_be_are_found_before_the_stream_is_read(self):
        broken = self.write("broken.csv", "what\n")
        state = self.path("state.weir")
        streams = [*self.sides, self.a1_entries, self.a2_entries, self.x_entries]
        two_stage = ["query", *self.options, *self.sides, "--inner", state, broken]
        for sides, naming in ((["--gram-buckets", 512], "buckets of the Gram sketch: 2048 against 512"),
                              (["--n2", N2 + 1], "n2: %d against %d" % (N2, N2 + 1)), (["--n1", N1 + 1], "dimension")):
            given = [part for k in range(0, len(self.sides), 2) if self.sides[k] not in sides for part in self.sides[k:k + 2]]
            self.succeed("query", *self.options, *given, *sides, *streams[len(self.sides):], "--save", state)
            for ranks in (None, 2):
                self.fail_with(1, *two_stage, ranks=ranks, naming=["state.weir", naming])
        # Other columns of the factors, and an exact Gram matrix, are no hindrance.
        self.succeed("query", *self.options, "--gram", "exact", "--n1", N1, "--n2", N2, "--d1", 1, "--d2", 1,
                     self.write("one.csv", "A1,%d,*,1\nA2,%d,*,1\nX,0,0,1\n" % (17, 30)), "--save", state)
        answer = self.succeed("query", *self.options, *streams, "--inner", state).json()["inner"][0]
        self.assertLessEqual(abs(answer["value"] - self.y[17][30]), answer["bound"])

        # A sketch of y against operands, and y against its transpose.
        same = ["--buckets", 2, "--lanes", 1, "--levels", 1]
        self.succeed("query", *self.options, *same, *self.fix("A2", "X"), "--n1", N1, self.a1_rows, "--save", state)
        self.fail_with(1, "query", *self.options, *self.sides, *same, "--inner", state, broken, naming="state.weir")
        square = self.write("square.npy", as_npy([row[:1] for row in self.a1]))
        streaming = ["query", *self.options, *same, "--n1", N1, "--n2", N1]
        self.succeed(*streaming, "--fixed", "A2=" + square, self.write("e1.csv", "A1,1,0,1\n"), "--save", state)
        for ranks in (None, 2):
            self.fail_with(1, *streaming, "--fixed", "A1=" + square, "--inner", state, broken, ranks=ranks, naming=["state.weir", "transpose"])
        self.succeed(*streaming, "--fixed", "A2=" + square, self.path("e1.csv"), "--inner", state)

    def test_sizes_follow_from_epsilon_and_overrides(self):
        streams = [*self.sides, "--no-verify", self.a1_entries, self.a2_entries, self.x_entries]
        def sizes(*arguments):
            state = self.path("sizes.weir")
            self.sample(*arguments, *streams, "--save", state)
            held = self.succeed("inspect", state, "--json").json()
            return held["buckets"], held["lanes"], held["gram_buckets"]
        coarse, fine = sizes(), sizes("--epsilon", "0.02")
        # Half of epsilon goes to the Gram matrices: 2 / (5 (0.02 / 2)^2) = 4000 buckets.
        self.assertEqual(fine[2], 4096)
        self.assertLess(coarse[2], fine[2])
        self.assertLess(coarse[0], fine[0])
        self.assertEqual(sizes("--epsilon", "0.02", "--buckets", 64, "--lanes", 8, "--gram-buckets", 128), (64, 8, 128))

    def test_core_is_read_as_events_too(self):
        fixed = [*self.fix("A2"), "--fixed", "X=" + self.x_entries, *self.sides, self.a1_rows]
        reference = self.drawn(self.sample(*self.fix("A2", "X"), "--n1", N1, self.a1_rows))
        for ranks in (None, 2):
            self.assertEqual(self.drawn(self.sample(*fixed, ranks=ranks)), reference)

    def test_core_that_no_memory_holds(self):
        side = 2 ** 40  # the square of it is 0 in 64 bits
        self.fail_with(1, "sample", *self.options, "--method", "streaming", *self.fix("X"), "--fixed", "A2=" + self.a2_entries,
                       "--n1", N1, "--n2", N2, "--d1", side, "--d2", side, self.a1_rows, naming="x.npy")
        self.fail_with(1, "sample", *self.options, "--fixed", "A2=" + self.a2_entries, "--n1", N1, "--n2", N2, "--d1", side,
                       self.a1_rows, naming=["X, d1 = %d" % side, "GiB"])

    def test_states_say_what_they_hold(self):
        y, operands = self.path("y.weir"), self.path("operands.weir")
        self.sample(*self.fix("A2", "X"), "--n1", N1, "--no-verify", self.a1_rows, "--save", y)
        self.sample(*self.sides, self.a1_entries, self.a2_entries, self.x_entries, "--save", operands)
        held = self.succeed("inspect", y, "--json").json()
        self.assertEqual((held["model"], held["shape"], held["streamed"], held["zero"]), ("kronecker", [N1, N2], "A1", False))
        self.assertAlmostEqual(held["norm"] / math.sqrt(self.total), 1, delta=0.3)
        held = self.succeed("inspect", operands, "--json").json()
        self.assertEqual((held["model"], held["shape"], held["d1"], held["d2"]), ("kronecker", [N1, N2], D1, D2))
        self.assertEqual((held["gram_exact"], held["x_events"], held["x_zero"], held["zero"]), (False, 3 * D1 * D2, False, False))
        self.assertAlmostEqual(held["norm"] / math.sqrt(self.total), 1, delta=0.1)

        target = self.path("c.weir")
        half = self.succeed("combine", "-o", target, "--scaled", "0.5", operands)
        self.assertEqual(half.err, "")
        self.assertAlmostEqual(self.succeed("inspect", target, "--json").json()["norm"], held["norm"] / 8, delta=1e-9 * held["norm"])
        zero = self.succeed("combine", "-o", target, "--add", operands, "--subtract", operands)
        for name in ("A1", "A2", "X"):
            self.assertIn("weir: %s of the sum is zero, and so is y" % name, zero.err)
        self.assertTrue(self.succeed("inspect", target, "--json").json()["zero"])
        self.fail_with(1, "combine", "-o", target, "--add", y, "--add", operands,
                       naming=[y, operands, "what they hold: a matrix y against A1, A2 and X"])
        self.fail_with(2, "combine", "-o", target, "--of", "y", "--add", operands, naming=["--of y", operands, "no sketch of y"])

    def test_questions(self):
        heavy = max((abs(value), (i1, i2)) for i1, row in enumerate(self.y) for i2, value in enumerate(row))[1]
        question = ["query", *self.options, "--norm", "--top", 2, "--point", "%d:%d,0:1" % heavy]
        for setting in (self.fix("A2", "X") + ["--n1", N1, self.a1_entries], self.fix("A1", "X") + ["--n2", N2, self.a2_entries],
                        [*self.sides, self.a1_entries, self.a2_entries, self.x_entries]):
            for ranks in (None, 3):
                answer = self.succeed(*question, *setting, ranks=ranks).json()
                self.assertEqual(answer["shape"], [N1, N2])
                self.assertLessEqual(abs(answer["norm"] - math.sqrt(self.total)), answer["norm_bound"])
                self.assertEqual(tuple(answer["top"][0]["index"]), heavy)
                for point in answer["points"]:
                    i1, i2 = point["index"]
                    self.assertLessEqual(abs(point["value"] - self.y[i1][i2]), point["bound"])
        state = self.path("s.weir")
        two_stage = ["--method", "two-stage", *self.fix("A1", "A2", "X")]
        self.succeed("query", *self.options, *two_stage, "--save", state)
        inner = self.succeed("query", *self.options, *two_stage, "--inner", state).json()["inner"][0]
        self.assertLessEqual(abs(inner["value"] - self.total), inner["bound"])

    def test_index_pairs_beyond_64_bits(self):
        stream = self.write("far.csv", "A1,%d,0,3\nA2,%d,0,-2\n" % (2 ** 62, 2 ** 62 + 5))
        sides = ["--n1", 2 ** 63, "--n2", 2 ** 63, "--d1", 1, "--d2", 1]
        answer = self.sample(*sides, "--failure", "0.001", stream)
        self.assertEqual({tuple(sample["index"]) for sample in answer["samples"]}, {(2 ** 62, 2 ** 62 + 5)})
        for sample in answer["samples"]:
            self.assertAlmostEqual(sample["value"], -6, places=9)
        self.fail_with(2, "sample", *self.options, "--fixed", "A2=" + self.write("long.npy", as_npy([[1]] * 3)), "--n1", 2 ** 62, stream,
                       naming=["2^63", "two-stage"])

    def test_labels_and_table(self):
        names = self.write("names.txt", "".join("token-%d\n" % i for i in range(N1)))
        arguments = [*self.fix("A2", "X"), "--n1", N1, self.a1_rows, "--labels", names]
        for sample in self.sample(*arguments)["samples"]:
            self.assertEqual(sample["label"], ["token-%d" % index for index in sample["index"]])
        table = self.succeed("sample", "--model", "kronecker", "--seed", SEED, *arguments).out
        self.assertIn("token-17", table)
        self.assertIn("are exact", table)

    def test_labels_of_second_indices_are_for_pairs(self):
        names = self.write("names.txt", "name\n")
        stream = self.write("y.csv", "0,1\n")
        for ranks in (None, 2):
            self.fail_with(2, "sample", "--n", 2, "--labels2", names, stream, ranks=ranks, naming=["--labels2", "kronecker"])
        self.fail_with(2, "query", "--n", 2, "--point", 0, "--labels2", names, stream, naming=["--labels2", "kronecker"])

    def test_one_by_one(self):
        one = "A2=" + self.write("one.npy", as_npy([[2.5]]))
        stream = self.write("one.csv", "A1,0,0,-3\n")
        for method in ("streaming", "two-stage", "exact"):
            answer = self.sample("--method", method, "--fixed", one, "--n1", 1, "--d1", 1, stream)
            self.assertEqual({tuple(sample["index"]) for sample in answer["samples"]}, {(0, 0)})
            for sample in answer["samples"]:
                self.assertAlmostEqual(sample["value"], -7.5, places=9)

    def test_bad_usage_and_bad_input(self):
        stream = self.a1_rows
        for arguments, naming in (
                (["--method", "streaming", *self.sides, stream], "two-stage"),
                (["--method", "streaming", *self.fix("A1", "A2", "X"), stream], "two-stage"),
                ([*self.fix("A2", "X"), stream], "--n1"),
                (["--n1", N1, "--n2", N2, "--d2", D2, stream], "--d1"),
                (["--n", N1, *self.sides, stream], "--n1"),
                (["--metric", "norm", *self.sides, stream], "--metric"),
                (["--sampler", "precision", *self.sides, stream], "precision"),
                (["--sampler", "perfect", "--method", "exact", *self.sides, stream], "exact"),
                (["--without-replacement", *self.sides, stream], "--without-replacement"),
                (["--p", 1, *self.sides, stream], "--p"),
                (["--p", 4, *self.fix("A2", "X"), "--n1", N1, stream], "--p 4"),
                (["--p", 1, "--exact-check", *self.fix("A2", "X"), "--n1", N1, stream], "--p 2"),
                (["--gram", "exact", *self.fix("A2", "X"), "--n1", N1, stream], "two-stage"),
                (["--fixed", "A=" + stream, *self.sides, stream], "'A'"),
                ([*self.sides], "nothing to measure")):
            with self.subTest(arguments=arguments):
                self.fail_with(2, "sample", *self.options, *arguments, naming=naming)
        self.fail_with(2, "sample", "--d1", 3, stream, naming="--d1")
        self.fail_with(2, "query", *self.options, *self.sides, stream, "--point", 3, naming="I1:I2")
        self.fail_with(2, "query", *self.options, *self.sides, stream, "--point", "%d:0" % N1, naming="outside")
        for arguments, naming in (
                ([*self.fix("A2", "X"), "--n1", N1, self.a2_entries], ["a2.csv:1: ", "A2", "--method two-stage"]),
                ([*self.fix("A2", "X"), "--n1", N1, self.x_entries], ["x.csv:1: ", "X", "--method two-stage"]),
                ([*self.fix("A2", "X"), "--n1", 10, stream], ["a1_rows.csv", "10"]),
                ([*self.fix("A2", "X"), "--n1", N1, self.write("short.csv", "A1,0,*,1,2\n")], ["short.csv", "1"]),
                (["--gram", "exact", *self.sides, self.a1_entries], "whole"),
                ([*self.fix("A2"), "--fixed", self.fixed["A2"].replace("A2=", "X="), "--n1", N1, "--d1", D1, stream], ["a2.npy", "--d1"]),
                ([*self.fix("A2", "X"), "--n1", N1, "--d1", D1 + 1, stream], ["--d1"])):
            for ranks in (None, 3):
                with self.subTest(arguments=arguments, ranks=ranks):
                    self.fail_with(1, "sample", *self.options, *arguments, naming=naming, ranks=ranks)


class Rows(Case):
    def setUp(self):
        super().setUp()
        source = random.Random(8)
        self.a = [[source.randrange(-3, 4) for _ in range(D1)] for _ in range(N1)]
        self.a[20] = [70, -60, 50]
        self.entries = self.write("a.csv", entry_events("A", self.a, source))
        self.rows = self.write("rows.csv", row_events("A", self.a))
        self.npy = self.write("a.npy", as_npy(self.a))
        self.options = ["--model", "rows", "--n", N1, "--d", D1, "--seed", SEED, "--json"]

    def sample(self, *arguments, **options):
        return self.succeed("sample", *self.options, *arguments, **options).json()

    def test_rows_are_drawn_and_recovered(self):
        reference = None
        for ranks in (None, 2, 4):
            for stream in (self.entries, self.rows, self.npy):
                with self.subTest(ranks=ranks, stream=stream):
                    answer = self.sample("--samples", 15, "--buckets", 512, "--exact-check", stream, ranks=ranks)
                    drawn = [(sample["lane"], sample["index"], sample["row"]) for sample in answer["samples"]]
                    reference = reference or drawn
                    self.assertEqual(drawn, reference)
                    self.assertAlmostEqual(answer["exact_norm"], math.sqrt(squared_norm(self.a)), places=9)
                    self.assertTrue(drawn)
                    for sample in answer["samples"]:
                        truth = self.a[sample["index"]]
                        self.assertEqual(len(sample["row"]), D1)
                        self.assertAlmostEqual(sample["exact"]["value"], math.sqrt(sum(v * v for v in truth)), places=9)
                        distance = math.dist(sample["row"], truth)
                        self.assertLess(distance, 0.3 * math.sqrt(sum(v * v for v in truth)))

    def test_metrics(self):
        metric = [[0, 0, 0], [0, 0, 0], [0, 0, 2]]
        only_last = self.write("metric.npy", as_npy(metric))
        for options in (["--metric", "leverage"], ["--metric", only_last], ["--metric", "norm", "--gram", "exact"],
                        ["--metric", "leverage", "--gram", "exact"]):
            for sampler in ([], ["--sampler", "exact"]):
                if sampler and "--gram" in options:
                    continue
                answer = self.sample(*options, *sampler, "--samples", 8, self.rows)
                self.assertEqual(answer["metric"], options[1])
                self.assertTrue(answer["samples"])
                for sample in answer["samples"]:
                    if options[1] == only_last:
                        self.assertNotEqual(self.a[sample["index"]][2], 0)
        rank = self.sample("--metric", "leverage", "--sampler", "exact", self.rows)["norm"]
        self.assertAlmostEqual(rank, math.sqrt(D1), places=9)

    def test_states(self):
        state, other = self.path("s.weir"), self.path("t.weir")
        whole = self.sample(self.rows)
        lines = self.read("rows.csv").decode().splitlines(keepends=True)
        first, second = self.write("first.csv", "".join(lines[:20])), self.write("second.csv", "".join(lines[20:]))
        self.sample(first, "--save", state)
        self.assertEqual(self.sample("--state", state, second, ranks=2)["samples"], whole["samples"])
        self.sample(second, "--save", other)
        self.succeed("combine", "-o", self.path("sum.weir"), "--add", state, "--add", other)
        self.assertEqual(self.succeed("sample", "--state", self.path("sum.weir"), "--json").json()["samples"], whole["samples"])
        self.assertEqual(self.succeed("sample", "--state", self.path("sum.weir"), "--metric", "leverage", "--json").json()["metric"], "leverage")
        answer = self.succeed("query", "--state", self.path("sum.weir"), "--norm", "--json").json()
        self.assertLessEqual(abs(answer["norm"] - math.sqrt(squared_norm(self.a))), answer["norm_bound"])
        self.succeed("combine", "-o", self.path("zero.weir"), "--add", state, "--subtract", state)
        self.assertEqual(self.weir("sample", "--state", self.path("zero.weir"), "--json").code, 3)

    def test_no_inner_product_of_a_vector_with_rows(self):
        rows, vector = self.path("rows.weir"), self.path("vector.weir")
        same = ["--n", N1, "--seed", SEED, "--buckets", 64, "--lanes", 8]
        self.succeed("sample", "--model", "rows", "--d", D1, *same, "--threshold", 0, self.rows, "--save", rows)
        self.succeed("sample", *same, "--threshold", 0, self.write("v.csv", "1,2\n"), "--save", vector)
        self.fail_with(1, "query", "--state", vector, "--inner", rows, naming="rows.weir")

    def test_any_index_without_n(self):
        stream = self.write("far.csv", "A,%d,*,3,4,0\n" % (2 ** 62 + 1))
        answer = self.succeed("sample", "--model", "rows", "--d", D1, "--failure", "0.001", "--json", stream).json()
        self.assertEqual({sample["index"] for sample in answer["samples"]}, {2 ** 62 + 1})
        kwise = ["sample", "--model", "kronecker", "--d1", 1, "--d2", 1, "--randomness", "kwise", "--failure", "0.001", "--json"]
        pair = self.succeed(*kwise, self.write("pair.csv", "A1,7,0,3\nA2,%d,0,2\n" % 2 ** 60)).json()
        self.assertEqual({tuple(sample["index"]) for sample in pair["samples"]}, {(7, 2 ** 60)})
        for sample in answer["samples"]:
            self.assertAlmostEqual(sample["value"], 5, places=9)

    def test_distinct_rows(self):
        state = self.path("distinct.weir")
        for p in (2, 1):
            law = ["--without-replacement", "--p", p, "--metric", "leverage"]
            answer = self.sample(*law, "--samples", 12, "--save", state, self.rows)
            self.assertEqual(answer["p"], p)
            self.assertEqual(len({sample["index"] for sample in answer["samples"]}), 12)
            self.assertTrue(all(0 < sample["inclusion"] <= 1 for sample in answer["samples"]))
            # A saved state draws as many as are wanted then, and the same ones first.
            fewer = self.succeed("sample", "--state", state, "--metric", "leverage", "--without-replacement", "--samples", 5, "--json").json()
            self.assertEqual([sample["index"] for sample in fewer["samples"]], [sample["index"] for sample in answer["samples"][:5]])
            again = self.sample(*law, "--samples", 12, "--second-pass", self.entries)
            self.assertEqual([sample["index"] for sample in again["samples"]], [sample["index"] for sample in answer["samples"]])
            for sample in again["samples"]:
                self.assertEqual(sample["row"], self.a[sample["index"]])

    def test_bad_usage_and_bad_input(self):
        for arguments, naming in ((["--model", "rows", "--n", N1, self.rows], "--d"),
                                  ([*self.options, "--p", 1, self.rows], "--p"),
                                  ([*self.options, "--p", 4, self.rows], "--p"),
                                  ([*self.options, "--sampler", "exact", "--without-replacement", self.rows], "with replacement"),
                                  ([*self.options, "--p", 1, "--without-replacement", "--exact-check", self.rows], "--exact-check"),
                                  ([*self.options, "--without-replacement", "--samples", 64, "--buckets", 32, self.rows], "32 buckets"),
                                  ([*self.options, "--method", "exact", self.rows], "--method"),
                                  ([*self.options, "--fixed", "A=" + self.npy, self.rows], "'A'"),
                                  (["--metric", "norm", self.rows], "--metric")):
            with self.subTest(arguments=arguments):
                self.fail_with(2, "sample", *arguments, naming=naming)
        self.fail_with(2, "query", *self.options, self.rows, "--top", 3, naming="--norm")
        lopsided = self.write("lopsided.npy", as_npy([[1, 2, 0], [0, 1, 0], [0, 0, 1]]))
        negative = self.write("negative.npy", as_npy([[1, 0, 0], [0, -1, 0], [0, 0, 1]]))
        small = self.write("small.npy", as_npy([[1]]))
        for arguments, naming in ((["--metric", lopsided, self.rows], ["lopsided.npy", "symmetric"]),
                                  (["--metric", negative, self.rows], ["negative.npy"]),
                                  (["--metric", small, self.rows], ["small.npy", "3"]),
                                  (["--metric", self.path("none.npy"), self.rows], "none.npy"),
                                  (["--gram", "exact", self.entries], "whole"),
                                  ([self.write("bad.csv", "A,0,*,1,2\n")], ["bad.csv", "1"])):
            for ranks in (None, 3):
                self.fail_with(1, "sample", *self.options, *arguments, naming=naming, ranks=ranks)


if __name__ == "__main__":
    unittest.main()
