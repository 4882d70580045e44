"""Acceptance tests of --model product: whichever operand streams, all samplers, queries, states. harness.py says what they need."""

import math
import os
import random
import resource
import unittest

from harness import Case, as_npy, without_times

N, D, SEED = 300, 4, 9


class Products(Case):
    """Whole-valued operands, so that every way to the same A and x must end in the same bits."""

    def setUp(self):
        super().setUp()
        source = random.Random(5)
        self.a = [[source.randrange(-3, 4) for _ in range(D)] for _ in range(N)]
        for i in (7, 100, 299):
            self.a[i] = [40 * value + 15 for value in self.a[i]]
        self.x = [3, -2, 0, 1]
        self.y = [sum(v * x for v, x in zip(row, self.x)) for row in self.a]
        # Deletions too: every entry comes in parts, some of them taken back.
        parts = []
        for i, row in enumerate(self.a):
            for j, value in enumerate(row):
                parts += [(i, j, value - 5), (i, j, 12), (i, j, -7)]
        source.shuffle(parts)
        self.a_events = "".join("A,%d,%d,%d\n" % part for part in parts)
        self.x_events = "".join("x,%d,%d\nx,%d,%d\n" % (j, value + 9, j, -9) for j, value in enumerate(self.x))
        self.options = ["--model", "product", "--n", N, "--seed", SEED, "--json"]
        self.fixed_a = "A=" + self.write("a.npy", as_npy(self.a))
        self.fixed_x = "x=" + self.write("x.txt", "".join("%d\n" % value for value in self.x))

    def rows(self, weight="*"):
        return "".join("A,%d,%s,%s\n" % (i, weight, ",".join(map(str, row))) for i, row in enumerate(self.a))

    def sample(self, *arguments, **options):
        return self.succeed("sample", *self.options, *arguments, **options).json()

    def drawn(self, answer):
        return [(sample["lane"], sample["index"]) for sample in answer["samples"]], answer["failed"], answer["norm"]

    def assert_exact(self, sample, p=2):
        self.assertEqual(sample["value"], self.y[sample["index"]])
        total = sum(abs(value) ** p for value in self.y)
        self.assertAlmostEqual(sample["probability"], abs(sample["value"]) ** p / total, places=12)

    def test_all_settings_and_rank_counts_draw_the_same(self):
        a, x = self.write("a.csv", self.a_events), self.write("x.csv", self.x_events)
        rows = self.write("rows.csv", self.rows())
        both = self.write("both.csv", self.x_events + self.a_events)
        reference = self.drawn(self.sample("--fixed", self.fixed_x, a))
        self.assertTrue(reference[0])
        settings = [("--fixed", self.fixed_x, a), ("--fixed", self.fixed_x, rows), ("--fixed", self.fixed_x, self.path("a.npy")),
                    ("--fixed", self.fixed_a, x), ("--fixed", self.fixed_a, "--fixed", self.fixed_x),
                    ("--d", D, both), ("--d", D, a, x), ("--d", D, x, rows), ("--d", D, self.path("a.npy"), x)]
        for ranks in (None, 2, 3, 4):
            for setting in settings:
                with self.subTest(ranks=ranks, setting=setting):
                    self.assertEqual(self.drawn(self.sample(*setting, ranks=ranks)), reference)

    def test_operands_are_merged_before_they_are_multiplied(self):
        # Each file is short: with several ranks, A and x are on different ones, and no rank has all of either.
        a = [self.write("a%d.csv" % k, "A,%d,0,5\nA,%d,1,-1\n" % (k, k)) for k in range(4)]
        x = [self.write("x%d.csv" % k, "x,%d,%d\n" % (k % 2, k + 1)) for k in range(4)]
        # x = (1 + 3, 2 + 4), every row of A is (5, -1): y = 14 in each of four places.
        for ranks in (None, 2, 4):
            answer = self.succeed("sample", "--model", "product", "--n", 4, "--d", 2, "--exact-check", "--json", *x, *a, ranks=ranks).json()
            self.assertAlmostEqual(answer["exact_norm"], 28, places=12)
            self.assertTrue(answer["samples"])
            for sample in answer["samples"]:
                self.assertAlmostEqual(sample["exact"]["value"], 14, places=12)

    def test_values_are_verified_where_a_is_at_hand(self):
        x = self.write("x.csv", self.x_events)
        matrix = "%%%%MatrixMarket matrix coordinate integer general\n%d %d %d\n" % (N, D, N * D)
        matrix += "".join("%d %d %d\n" % (i + 1, j + 1, value) for i, row in enumerate(self.a) for j, value in enumerate(row))
        for fixed in (self.fixed_a, "A=" + self.write("a.mtx", matrix)):
            for p in (1, 2):
                for ranks in (None, 3):
                    answer = self.sample("--fixed", fixed, "--p", p, "--samples", 20, x, ranks=ranks)
                    self.assertTrue(answer["verified"])
                    self.assertAlmostEqual(answer["exact_norm"], math.sqrt(sum(v * v for v in self.y)), places=9)
                    for sample in answer["samples"]:
                        self.assert_exact(sample, p)
        self.assertFalse(self.sample("--fixed", self.fixed_a, "--no-verify", x)["verified"])
        self.assertFalse(self.sample("--d", D, self.path("a.npy"), x)["verified"])
        self.assertIn("are exact", self.succeed("sample", "--model", "product", "--fixed", self.fixed_a, x).out)

    def test_few_rows_of_many_are_verified_in_little_memory(self):
        n, y = 10 ** 9, {0: 6, 7: -10, 10 ** 8: 4, 10 ** 9 - 1: 22}
        matrix = "%%%%MatrixMarket matrix coordinate integer general\n%d 2 5\n1 1 3\n8 1 -5\n%d 2 4\n%d 1 9\n%d 2 4\n" \
            % (n, 10 ** 8 + 1, n, n)
        x = self.write("x.csv", "x,0,2\nx,1,1\n")
        command = ["sample", "--model", "product", "--seed", SEED, "--samples", 20, "--json"]
        for ranks in (None, 3):
            answer = self.succeed(*command, "--fixed", "A=" + self.write("few.mtx", matrix), x, ranks=ranks).json()
            self.assertTrue(answer["verified"] and answer["samples"])
            total = sum(value * value for value in y.values())
            self.assertAlmostEqual(answer["exact_norm"], math.sqrt(total), places=12)
            for sample in answer["samples"]:
                self.assertEqual(sample["value"], y[sample["index"]])
                self.assertAlmostEqual(sample["probability"], sample["value"] ** 2 / total, places=12)
        # The numbers of all rows would take 8 GB.
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, 1 << 20)

    def test_many_rows_of_more_are_verified(self):
        # More rows than one party keeps one by one, and on two ranks fewer.
        count = 2 ** 20 + 5
        a = self.write("many.csv", "".join("A,%d,0,1\n" % (3 * i) for i in range(count)))
        x = self.write("x.csv", "x,0,2\n")
        for ranks in (None, 2):
            answer = self.succeed("sample", "--model", "product", "--n", 3 * count, "--d", 1, "--fixed", "A=" + a, "--seed", SEED, "--samples", 2,
                                  "--epsilon", 0.5, "--json", x, ranks=ranks).json()
            self.assertTrue(answer["verified"])
            self.assertAlmostEqual(answer["exact_norm"], 2 * math.sqrt(count), places=6)
            self.assertEqual({sample["value"] for sample in answer["samples"]} | {2}, {2})

    def test_a_file_that_cannot_hold_its_shape_is_refused_first(self):
        # A sketch of so many columns would take gigabytes.
        lie = as_npy([[1.0, 2.0]]).replace(b"(1, 2), }" + b" " * 6, b"(9, 9000000), }", 1)
        x = self.write("x.csv", "x,0,1\n")
        for ranks in (None, 3):
            self.fail_with(1, "sample", "--model", "product", "--fixed", "A=" + self.write("lie.npy", lie), x, ranks=ranks,
                           naming=("lie.npy: expected 9 x 9000000 entries of 8 bytes", "found 16 bytes"))
            matrix = self.write("lie.mtx", "%%MatrixMarket matrix array real general\n9 9000000\n1\n2\n")
            self.fail_with(1, "sample", "--model", "product", "--fixed", "A=" + matrix, x, ranks=ranks,
                           naming=("lie.mtx:2: expected 81000000 entries", "cannot hold more than 2"))

    def test_shape_comes_from_a_fixed_operand(self):
        x = self.write("x.csv", self.x_events)
        answer = self.succeed("sample", "--model", "product", "--fixed", self.fixed_a, "--json", x).json()
        self.assertEqual((answer["n"], answer["d"], answer["updates"]), (N, D, 2 * D))
        self.assertEqual(answer["sketch"]["columns"], D)
        self.fail_with(1, "sample", "--model", "product", "--n", 10, "--fixed", self.fixed_a, x, naming=["a.npy", "--n is 10"])
        self.fail_with(1, "sample", "--model", "product", "--d", 5, "--fixed", self.fixed_a, x, naming=["a.npy", "--d is 5"])
        short = "x=" + self.write("short.txt", "1\n2\n")
        self.fail_with(1, "sample", "--model", "product", "--fixed", self.fixed_a, "--fixed", short, naming="short.txt")

    def test_rows_that_leave_are_gone(self):
        stream = self.write("rows.csv", self.rows() + self.x_events + "A,7,*,1,1,1,1\n")
        gone = self.write("gone.csv", self.rows("-*"))
        for ranks in (None, 3):
            answer = self.sample("--d", D, stream, gone, "--failure", "0.001", ranks=ranks)
            self.assertEqual(answer["updates"], 2 * N + 2 * D + 1)
            self.assertEqual({sample["index"] for sample in answer["samples"]}, {7})
            self.assertEqual({sample["value"] for sample in answer["samples"]}, {2})

    def test_nothing_to_draw_from_a_zero_product(self):
        zero = self.write("zero.csv", "x,1,5\nx,1,-5\n")
        rows = self.write("rows.csv", self.rows())
        for ranks in (None, 2):
            for arguments in (["--fixed", self.fixed_a, zero], ["--d", D, rows, zero], ["--d", D, rows],
                              ["--d", D, self.write("x.csv", self.x_events)]):
                outcome = self.weir("sample", *self.options, *arguments, ranks=ranks)
                self.assertEqual(outcome.code, 3, outcome.err)
                self.assertEqual(outcome.json()["reason"], "zero vector")

    def test_standard_input_carries_rows_to_all_ranks(self):
        text = (self.rows() + self.x_events).encode()
        reference = self.drawn(self.sample("--d", D, "-", stdin=text))
        self.assertEqual(self.drawn(self.sample("--d", D, "-", stdin=text, ranks=3)), reference)

    def test_one_by_one(self):
        x = self.write("x.csv", "x,0,-3\n")
        answer = self.succeed("sample", "--model", "product", "--fixed", "A=" + self.write("one.npy", as_npy([[2.5]])), "--json", x).json()
        self.assertEqual({(sample["index"], sample["value"], sample["probability"]) for sample in answer["samples"]}, {(0, -7.5, 1)})

    def test_fourth_power(self):
        rows, x = self.write("rows.csv", self.rows()), self.write("x.csv", self.x_events)
        total = sum(value ** 4 for value in self.y)
        heaviest = max(range(N), key=lambda i: abs(self.y[i]))
        settings = [["--fixed", self.fixed_x, rows], ["--fixed", self.fixed_a, x], ["--d", D, rows, x], ["--d", D, x, self.path("a.npy")]]
        answers = [self.sample("--p", 4, "--samples", 12, *setting, ranks=ranks) for setting in settings for ranks in (None, 3)]
        for answer in answers:
            self.assertEqual(answer["p"], 4)
            self.assertEqual([(s["lane"], s["index"]) for s in answer["samples"]], [(s["lane"], s["index"]) for s in answers[0]["samples"]])
            self.assertIn(heaviest, {sample["index"] for sample in answer["samples"]})
            for sample in answer["samples"]:
                exact = self.y[sample["index"]]
                self.assertEqual(math.copysign(1, sample["value"]), math.copysign(1, exact))
                # The estimate of y^2 is off by a few hundredths of the 4-norm squared at most; drawn entries are large.
                self.assertLess(abs(sample["value"] ** 2 - exact ** 2), 0.2 * math.sqrt(total))
        for sample in answers[2]["samples"]:
            self.assert_exact(sample, 4)
        exact = self.sample("--p", 4, "--sampler", "exact", "--d", D, rows, x)
        for sample in exact["samples"]:
            self.assert_exact(sample, 4)
        self.fail_with(1, "sample", *self.options, "--p", 4, "--d", D, self.write("a.csv", self.a_events), naming="rows of A come and go whole")
        self.fail_with(1, "sample", *self.options, "--p", 4, "--fixed", self.fixed_x, self.path("a.csv"), naming="rows of A come and go whole")
        self.fail_with(2, "sample", "--n", 10, "--p", 4, rows, naming="--model product")
        self.fail_with(2, "sample", *self.options, "--p", 4, "--d", 2 ** 40, rows, ranks=2, naming="2^32 to lift")

    def test_fourth_power_with_a_fixed_x_goes_on_and_combines(self):
        rows, gone = self.write("rows.csv", self.rows()), self.write("gone.csv", "A,7,-*,%s\n" % ",".join(map(str, self.a[7])))
        options = ["--p", 4, "--fixed", self.fixed_x]
        reference = self.drawn(self.sample(*options, rows, gone))
        first, second, result = self.path("first"), self.path("second"), self.path("result")
        self.sample(*options, "--save", first, rows)
        self.weir("sample", *self.options, *options, "--save", second, gone)
        for ranks in (None, 3):
            self.assertEqual(self.drawn(self.succeed("sample", "--state", first, "--model", "product", "--fixed", self.fixed_x, "--json", gone,
                                                     ranks=ranks).json()), reference)
        self.succeed("combine", "-o", result, "--add", first, "--add", second)
        self.assertEqual(self.drawn(self.succeed("sample", "--state", result, "--json").json()), reference)
        self.succeed("combine", "-o", result, "--add", first, "--subtract", first)
        self.assertEqual(self.weir("sample", "--state", result).code, 3)
        # Squares do not scale as rows do.
        self.fail_with(1, "combine", "-o", result, "--scaled", 2, first, naming=["first", "come and go whole"])
        self.fail_with(1, "combine", "-o", result, "--subtract", first, naming=["first", "come before they go", "--of y"])
        self.succeed("combine", "-o", result, "--of", "y", "--scaled", 2, first)
        norm = self.succeed("query", "--state", first, "--json").json()["norm"]
        self.assertAlmostEqual(self.succeed("query", "--state", result, "--json").json()["norm"] / norm, 2, places=12)

    def test_exact_check_of_exact_draws_has_their_law(self):
        rows = self.write("rows.csv", self.rows())
        for p in (0.5, 1, 4):
            answer = self.sample("--sampler", "exact", "--exact-check", "--p", p, "--fixed", self.fixed_x, rows)
            for sample in answer["samples"]:
                self.assert_exact(sample, p)
                self.assertEqual(sample["exact"], {"value": sample["value"], "probability": sample["probability"]})

    def test_a_that_is_read_more_than_once_is_no_pipe(self):
        os.mkfifo(self.path("pipe.npy"))
        x = self.write("x.csv", self.x_events)
        for path in (self.path("pipe.npy"), "-"):
            self.fail_with(2, "sample", *self.options, "--fixed", "A=" + path, x, naming=[path, "pipe"])

    def test_exact_values_of_a_long_x_need_memory(self):
        x = self.write("x.csv", self.x_events)
        self.fail_with(1, "sample", *self.options, "--sampler", "exact", "--d", 2 ** 50, "--fixed", "A=" + self.write("a.csv", self.a_events), x,
                       naming=["would take", "d = %d" % 2 ** 50])

    def test_questions_about_a_fixed_a_know_its_length(self):
        x = self.write("x.csv", self.x_events)
        for ranks in (None, 2):
            answer = self.succeed("query", "--model", "product", "--fixed", self.fixed_a, "--levels", 1, "--top", 3, "--json", x, ranks=ranks).json()
            self.assertEqual((answer["n"], answer["sketch"]["lanes"]), (N, 1))
            self.assertEqual({item["index"] for item in answer["top"]}, {7, 100, 299})

    def test_softmax(self):
        # Scores of +-1e5 and ties: only the three largest, equal, can be drawn.
        column = [[-1e5]] * 20 + [[1e5]] * 3 + [[1e5 - 800]] * 5
        a = "A=" + self.write("scores.npy", as_npy(column))
        one = self.write("one.csv", "x,0,1\n")
        options = ["sample", "--model", "product", "--sampler", "softmax", "--samples", 60, "--seed", 3, "--json"]
        answers = [self.succeed(*options, "--fixed", a, one, ranks=ranks).json() for ranks in (None, 2, 4)]
        answers.append(self.succeed(*options, "--n", 28, "--d", 1, self.path("scores.npy"), one, ranks=3).json())
        for answer in answers:
            self.assertEqual(answer["samples"], answers[0]["samples"])
            self.assertEqual({sample["index"] for sample in answer["samples"]}, {20, 21, 22})
            for sample in answer["samples"]:
                self.assertAlmostEqual(sample["probability"], 1 / 3, places=12)
                self.assertEqual(sample["value"], 1e5)
            self.assertTrue(answer["verified"])
        vector = self.write("y.csv", "0,1\n1,-1\n2,0.5\n")
        answer = self.succeed("sample", "--n", 3, "--sampler", "softmax", "--without-replacement", "--samples", 3, "--json", vector).json()
        self.assertEqual(sorted(sample["index"] for sample in answer["samples"]), [0, 1, 2])
        self.fail_with(2, *options, "--p", 2, "--fixed", a, one, naming="--p")

    def test_precision(self):
        x = self.write("x.csv", self.x_events)
        answers = [self.sample("--sampler", "precision", "--samples", 4, "--epsilon", 0.3, "--fixed", self.fixed_a, x, ranks=ranks)
                   for ranks in (None, 2)]
        self.assertEqual(self.drawn(answers[0]), self.drawn(answers[1]))
        self.assertEqual(answers[0]["law"], "uniform")
        self.assertTrue(answers[0]["samples"])
        for sample in answers[0]["samples"]:
            self.assert_exact(sample)
        self.assertLessEqual({failed["reason"] for failed in answers[0]["failed"]}, {"below_threshold", "heavy_tail"})
        vector = self.write("y.csv", "".join("%d,%d\n" % entry for entry in enumerate(self.y)))
        self.succeed("query", "--n", N, "--norm", vector)
        for wrong in (["--threshold", 2], ["--without-replacement"], ["--p", 1]):
            self.fail_with(2, "sample", *self.options, "--sampler", "precision", *wrong, "--fixed", self.fixed_a, x)
        self.fail_with(2, "sample", *self.options, "--precision-constant", 2, "--fixed", self.fixed_a, x, naming="--sampler precision")

    def test_precision_states_know_what_they_were_made_for(self):
        x, more = self.write("x.csv", self.x_events), self.write("more.csv", "x,2,4\n")
        precision = ["--sampler", "precision", "--samples", 4, "--epsilon", 0.3, "--precision-constant", 0.75]
        state, perfect = self.path("precision.weir"), self.path("perfect.weir")
        reference = self.sample(*precision, "--no-verify", "--fixed", self.fixed_a, x, "--save", state, ranks=2)
        self.assertTrue(reference["samples"])
        self.sample("--fixed", self.fixed_a, x, "--save", perfect)
        for same in ([], ["--epsilon", 0.3], ["--precision-constant", 0.75], precision[:2]):
            for ranks in (None, 2):
                answer = self.succeed("sample", "--state", state, "--samples", 4, "--json", *same, ranks=ranks).json()
                self.assertEqual(without_times(answer), without_times(reference))
        whole = self.sample(*precision, "--no-verify", "--fixed", self.fixed_a, x, more)
        goes_on = ["sample", "--state", state, "--samples", 4, "--json", "--model", "product", "--save", self.path("later.weir"), more]
        self.assertEqual(without_times(self.succeed(*goes_on, ranks=2).json()), without_times(whole))
        again = self.succeed("sample", "--state", self.path("later.weir"), "--samples", 4, "--json").json()
        self.assertEqual(without_times(again), without_times(whole))
        for wrong in (["--threshold", 2], ["--without-replacement"], ["--sampler", "perfect"]):
            self.fail_with(2, "sample", "--state", state, *wrong, naming=[wrong[0], "the sampler precision"])
        for wrong in (["--epsilon", 0.1], ["--precision-constant", 1]):
            for ranks in (None, 2):
                for stream in ([], ["--model", "product", more]):
                    self.fail_with(2, "sample", "--state", state, *wrong, *stream, ranks=ranks,
                                   naming="%s %s contradicts the saved state" % tuple(wrong))
        self.fail_with(2, "sample", "--state", perfect, "--precision-constant", 1, naming=["--precision-constant", "the sampler perfect"])
        self.succeed("sample", "--state", perfect, "--epsilon", 0.3)
        held = self.succeed("inspect", state, "--json").json()
        self.assertEqual((held["law"], held["epsilon"], held["constant"]), ("uniform", 0.3, 0.75))
        self.assertNotIn("epsilon", self.succeed("inspect", perfect, "--json").json())
        # The same table, for another target.
        same_table = [part for name in ("buckets", "lanes") for part in ("--" + name, held[name])]
        self.sample(*precision[:-1], 0.5, *same_table, "--fixed", self.fixed_a, x, "--save", self.path("other.weir"))
        self.fail_with(1, "combine", "-o", self.path("sum.weir"), "--add", state, "--add", self.path("other.weir"),
                       naming="C of the sampler precision: 0.75 against 0.5")

    def test_a_state_goes_on_with_the_operands_that_stream(self):
        rows, x = self.write("rows.csv", self.rows()), self.write("x.csv", self.x_events)
        state = self.path("s.weir")
        for first, more in ((["--d", D, rows, x], "x,2,4\nA,5,1,3\n"), (["--fixed", self.fixed_a, x], "x,2,4\n")):
            more = self.write("more.csv", more)
            whole = self.drawn(self.sample("--d", D, rows, x, more))
            for ranks in (None, 3):
                self.sample(*first, "--save", state, ranks=ranks)
                self.assertEqual(self.drawn(self.succeed("sample", "--state", state, "--json", ranks=ranks).json()), self.drawn(self.sample("--d", D, rows, x)))
                self.assertEqual(self.drawn(self.succeed("sample", "--state", state, "--model", "product", "--json", more, ranks=ranks).json()), whole)
        self.assertIn("product", self.succeed("inspect", state).out)
        for change in ("A,5,1,3", "A,5,*,1,2,3,4"):
            changed = self.write("changed.csv", "x,2,4\n%s\n" % change)
            for command in ("sample", "query"):
                for ranks in (None, 3):
                    self.fail_with(1, command, "--state", state, "--model", "product", changed, ranks=ranks,
                                   naming=["changed.csv:2: A is not an operand", "takes x", "fixed in the saved state: A"])
        self.fail_with(2, "sample", "--state", state, "--model", "product", "--fixed", self.fixed_x, more, naming="its own x")
        self.fail_with(2, "sample", "--state", state, "--model", "product", "--fixed", self.fixed_a, more, naming="its own A")
        self.fail_with(2, "sample", "--state", state, "--model", "product", "--d", 7, more, naming="--d 7")
        self.fail_with(2, "sample", "--state", state, "--model", "vector", more, naming="state of --model product")
        self.sample("--fixed", self.fixed_x, rows, "--save", state)
        # The state knows its x: it need not be given again, and must be the same where it is.
        self.fail_with(2, "sample", "--state", state, "--d", 7, rows, naming="--d 7 contradicts the saved state, which has 4")
        other = "x=" + self.write("other.txt", "".join("%d\n" % (value + 1) for value in self.x))
        for ranks in (None, 3):
            self.fail_with(1, "sample", "--state", state, "--fixed", other, rows, ranks=ranks, naming="not the x that the saved state holds")
            answers = [self.succeed("sample", "--state", state, "--json", *given, rows, ranks=ranks).json() for given in ([], ["--fixed", self.fixed_x])]
            self.assertEqual(self.drawn(answers[0]), self.drawn(answers[1]))

    def test_a_alone_can_be_saved_and_multiplied_later(self):
        state, x = self.path("a.weir"), self.write("x.csv", self.x_events)
        self.succeed("query", *self.options, "--lanes", 16, "--fixed", self.fixed_a, "--save", state)
        answer = self.succeed("sample", "--state", state, "--model", "product", "--json", x).json()
        self.assertEqual(self.drawn(answer), self.drawn(self.sample("--lanes", 16, "--buckets", answer["sketch"]["buckets"], "--d", D, self.path("a.npy"), x)))

    def test_states_combine_operand_by_operand_or_as_vectors(self):
        rows, x = self.write("rows.csv", self.rows()), self.write("x.csv", self.x_events)
        changed = self.write("changed.csv", self.rows() + self.x_events + "A,42,0,1000\n")
        for name, streams in (("part1", [rows]), ("part2", [x]), ("before", [rows, x]), ("after", [changed])):
            self.weir("sample", *self.options, "--d", D, *streams, "--save", self.path(name))
        self.succeed("combine", "-o", self.path("sum"), "--add", self.path("part1"), "--add", self.path("part2"))
        self.assertEqual(self.drawn(self.succeed("sample", "--state", self.path("sum"), "--json").json()), self.drawn(self.sample("--d", D, rows, x)))
        self.succeed("combine", "-o", self.path("diff"), "--of", "y", "--add", self.path("after"), "--subtract", self.path("before"))
        answer = self.succeed("sample", "--state", self.path("diff"), "--json").json()
        self.assertEqual({(s["index"], s["value"]) for s in answer["samples"]}, {(42, 3000)})
        outcome = self.succeed("combine", "-o", self.path("none"), "--add", self.path("after"), "--subtract", self.path("before"))
        self.assertIn("--of y", outcome.err)

    def test_a_fixed_operand_is_kept_once(self):
        first, second = self.write("x.csv", self.x_events), self.write("second.csv", "x,0,1\nx,2,-3\n")
        both = self.write("both.csv", self.x_events + "x,0,-2\nx,2,6\n")  # minus twice the second
        target = self.path("sum")
        for law in ([], ["--p", 4]):
            self.sample("--fixed", self.fixed_a, *law, first, "--save", self.path("first"), ranks=3)
            self.sample("--fixed", self.fixed_a, *law, second, "--save", self.path("second"))
            reference = self.drawn(self.sample("--fixed", self.fixed_a, *law, "--no-verify", both))
            terms = ["--add", self.path("first"), "--subtract", self.path("second"), "--scaled", -1, self.path("second")]
            self.succeed("combine", "-o", target, *terms)
            for ranks in (None, 2):
                self.assertEqual(self.drawn(self.succeed("sample", "--state", target, "--json", ranks=ranks).json()), reference)
            held = self.succeed("inspect", target, "--json").json()
            self.assertEqual((held["fixed"], held["d"], held["updates"]), (["A"], D, 2 * D + 4))
            self.assertRegex(self.succeed("inspect", target).out, r"fixed +A\n")
            self.succeed("combine", "-o", self.path("y"), "--of", "y", *terms)
            self.assertEqual(self.succeed("query", "--state", self.path("y"), "--json").json()["norm"], reference[2])
            outcome = self.succeed("combine", "-o", target, "--add", self.path("first"), "--scaled", -1, self.path("first"))
            self.assertEqual(outcome.err, "")  # y cancels, as asked for.
            self.assertEqual(self.weir("sample", "--state", target).code, 3)
        os.remove(target)
        self.a[5][0] += 1
        other = "A=" + self.write("other.npy", as_npy(self.a))
        for name, setting, naming in (("third", ["--fixed", other, first], "A: fixed in both, and not the same"),
                                      ("third", ["--d", D, self.path("a.npy"), first], "A: fixed against streamed")):
            self.sample(*setting, "--p", 4, "--save", self.path(name))
            self.fail_with(1, "combine", "-o", target, "--add", self.path("first"), "--add", self.path(name),
                           naming=[self.path("first"), self.path(name), naming])
            self.assertFalse(os.path.exists(target))

    def test_fourth_power_of_one_column(self):
        # As if x were fixed: rows of one number, and x = 1; but it streams.
        parts = [self.write("part%d.csv" % k, "A,%d,*,%d\nx,0,1\n" % (k, 3 + k)) for k in range(2)]
        options = ["--model", "product", "--p", 4, "--n", 2, "--d", 1, "--seed", SEED, "--buckets", 256, "--json"]
        for part in parts:
            self.succeed("sample", *options, part, "--save", part + ".weir")
        self.succeed("combine", "-o", self.path("sum"), "--add", parts[0] + ".weir", "--add", parts[1] + ".weir")
        norm = math.hypot(2 * 3, 2 * 4)
        self.assertAlmostEqual(self.succeed("query", "--state", self.path("sum"), "--json").json()["norm"], norm, places=9)
        goes_on = ["query", "--state", parts[0] + ".weir", "--model", "product", "--json"]
        self.assertAlmostEqual(self.succeed(*goes_on, parts[1]).json()["norm"], norm, places=9)
        one = "x=" + self.write("one.txt", "1\n")
        self.fail_with(2, *goes_on, "--fixed", one, parts[1], naming="its own x")
        # And where it is fixed it does not.
        self.succeed("sample", *options, "--fixed", one, self.write("rows.csv", "A,0,*,3\n"), "--save", self.path("fixed"))
        self.fail_with(1, "combine", "-o", self.path("sum"), "--add", self.path("fixed"), "--add", parts[1] + ".weir",
                       naming="what they hold: a vector and its squares against A and x of a product")
        self.fail_with(1, "sample", "--state", self.path("fixed"), parts[1], naming=["x is not an operand", "fixed in the saved state: x"])
        held = self.succeed("inspect", self.path("fixed"), "--json").json()
        self.assertEqual((held["fixed"], held["d"]), (["x"], 1))
        self.assertEqual(self.succeed("sample", "--state", self.path("fixed"), "--json").json()["d"], 1)

    def test_queries(self):
        x = self.write("x.csv", self.x_events)
        squared = sum(value * value for value in self.y)
        options = ["--model", "product", "--seed", 2, "--epsilon", 0.05, "--json"]
        for setting in (["--fixed", self.fixed_a, x], ["--n", N, "--d", D, self.path("a.npy"), x]):
            answer = self.succeed("query", *options, "--norm", "--top", 3, "--point", "7,8", *setting, ranks=2).json()
            self.assertLess(abs(answer["norm"] - squared ** 0.5), answer["norm_bound"])
            largest = sorted(range(N), key=lambda i: -abs(self.y[i]))[:3]
            self.assertEqual([entry["index"] for entry in answer["top"]], largest)
            for entry in answer["top"] + answer["points"]:
                self.assertLessEqual(abs(entry["value"] - self.y[entry["index"]]), entry["bound"])
        # A x and A' x, A' being A with a part of its rows negated.
        other = self.write("other.npy", as_npy([[-v for v in row] if i % 2 else row for i, row in enumerate(self.a)]))
        self.succeed("query", *options, "--fixed", "A=" + other, x, "--save", self.path("other.weir"))
        answer = self.succeed("query", *options, "--fixed", self.fixed_a, x, "--inner", self.path("other.weir")).json()["inner"][0]
        exact = sum(-v * v if i % 2 else v * v for i, v in enumerate(self.y))
        self.assertLess(abs(answer["value"] - exact), answer["bound"])

    def test_moments_through_samples(self):
        x = self.write("x.csv", self.x_events)
        answer = self.succeed("query", "--model", "product", "--seed", 4, "--json", "--moment", "0.5,2,3", "--fixed", self.fixed_a, x).json()
        self.assertEqual([moment["p"] for moment in answer["moments"]], [0.5, 2, 3])
        for moment in answer["moments"]:
            # Too far from the p = 2 of the draws there is no bound, and that is said.
            self.assertEqual("bound" in moment, "no_bound" not in moment)
            if "bound" in moment:
                self.assertLess(abs(moment["value"] - sum(abs(v) ** moment["p"] for v in self.y)), moment["bound"])
        self.assertIn("bound", answer["moments"][1])

    def test_malformed_operands_and_rows(self):
        x = self.write("x.csv", self.x_events)
        whole = as_npy(self.a)
        header = whole[:128]
        nan = as_npy([[1.0, 2.0], [3.0, math.nan]])
        for name, content, naming in (("cut.npy", whole[:-8], "cut.npy"), ("more.npy", whole + b"\0", "more.npy"),
                                      ("dtype.npy", whole.replace(b"<f8", b"<c8"), "dtype"), ("nan.npy", nan, "nan.npy"),
                                      ("huge.npy", whole.replace(b"(300, 4)", b"(900, 4)"), "huge.npy"),
                                      ("overflow.npy", header.replace(b"(300, 4), }" + b" " * 16, b"(9223372036854775807, 9), }"), "overflow.npy"),
                                      ("text.npy", b"\x93NUMPY", "text.npy")):
            with self.subTest(name=name):
                for ranks in (None, 3):
                    self.fail_with(1, "sample", "--model", "product", "--fixed", "A=" + self.write(name, content), x, ranks=ranks, naming=naming)
        for line, naming in (("A,1,*,1,2,3", "rows.csv:2"), ("A,1,*,1,2,3,4,5", "rows.csv:2"), ("A,1,*,1,2,3,nan", "rows.csv:2"),
                             ("A,300,*,1,2,3,4", "rows.csv:2"), ("x,*,1,2,3,4", "rows.csv:2"), ("x,4,1", "rows.csv:2"), ("A,1,4,1", "rows.csv:2")):
            with self.subTest(line=line):
                for ranks in (None, 2):
                    self.fail_with(1, "sample", *self.options, "--d", D, self.write("rows.csv", "A,0,*,1,2,3,4\n" + line + "\n"), ranks=ranks, naming=naming)

    def test_command_lines_that_make_no_sense(self):
        x = self.write("x.csv", self.x_events)
        for arguments, naming in ((["--model", "product", x], "--d"), (["--model", "product", "--fixed", self.fixed_a, "--fixed", self.fixed_x, x], "nothing streams"),
                                  (["--model", "product", "--fixed", self.fixed_a, "--fixed", self.fixed_a, x], "more than once"),
                                  (["--model", "vector", "--fixed", self.fixed_a, x], "cannot be fixed"), (["--model", "product", "--fixed", "B=b.npy", x], "'B'")):
            with self.subTest(arguments=arguments):
                self.fail_with(2, "sample", *arguments, naming=naming)


if __name__ == "__main__":
    unittest.main()
