"""Acceptance tests of --sampler softmax: pairs of --model kronecker, --scale, --per-row. harness.py says what they need."""

import math
import random
import unittest

from harness import Case, as_npy
from tensor_test import entry_events, multiply, row_events, transpose

N1, N2, D1, D2, SEED = 30, 25, 3, 4, 12


class Softmax(Case):
    """Whole-valued operands, so that every way to the same matrix must draw the same pairs, to the last bit."""

    def setUp(self):
        super().setUp()
        source = random.Random(5)
        self.a1 = [[source.randrange(-3, 4) for _ in range(D1)] for _ in range(N1)]
        self.a2 = [[source.randrange(-3, 4) for _ in range(D2)] for _ in range(N2)]
        self.a1[4] = [0] * D1
        self.x = [[2, -1, 0, 1], [0, 3, 1, 0], [1, 0, -2, 1]]
        self.y = multiply(multiply(self.a1, self.x), transpose(self.a2))
        self.fixed = {name: name + "=" + self.write(name + ".npy", as_npy(matrix))
                      for name, matrix in (("A1", self.a1), ("A2", self.a2), ("X", self.x))}
        self.streams = [self.write("a1.csv", entry_events("A1", self.a1, source)),
                        self.write("x.csv", entry_events("X", self.x, source)),
                        self.write("a2.csv", row_events("A2", self.a2) + row_events("A2", self.a2) + row_events("A2", self.a2, "-*"))]
        self.sides = ["--n1", N1, "--n2", N2, "--d1", D1, "--d2", D2]
        self.options = ["sample", "--model", "kronecker", "--sampler", "softmax", "--seed", SEED, "--json"]

    def fix(self, *names):
        return ["--fixed", *(self.fixed[name] for name in names)]

    def law(self, scale, per_row):
        weights = [[math.exp(scale * value) for value in row] for row in self.y]
        total = sum(map(sum, weights))
        return [[weight / (sum(row) * N1 if per_row else total) for weight in row] for row in weights]

    def assert_law(self, answer, scale, per_row):
        law = self.law(scale, per_row)
        self.assertTrue(answer["samples"])
        for sample in answer["samples"]:
            i1, i2 = sample["index"]
            self.assertEqual(sample["value"], self.y[i1][i2])
            self.assertAlmostEqual(sample["probability"] / law[i1][i2], 1, places=8)
            self.assertEqual((sample["value_bound"], sample["probability_bound"]), (0, 0))

    def test_pairs_are_the_same_however_operands_come_and_for_all_rank_counts(self):
        ways = [[*self.sides, *self.streams],
                [*self.fix("A2", "X"), "--n1", N1, self.streams[0]],
                [*self.fix("A1"), "--n2", N2, "--d2", D2, *self.streams[1:]],
                self.fix("A1", "A2", "X")]
        for law, scale in (([], 1), (["--scale", "0.125"], 0.125), (["--scale", "sqrt", "--without-replacement"], 1 / math.sqrt(D1)),
                           (["--scale", "dim", "--per-row"], 1 / D1), (["--per-row", "--without-replacement", "--scale", "-0.25"], -0.25)):
            reference = None
            for way in ways:
                for ranks in (None, 2, 3, 4) if way is ways[0] else (3,):
                    with self.subTest(law=law, way=way, ranks=ranks):
                        answer = self.succeed(*self.options, "--samples", 20, *law, *way, ranks=ranks).json()
                        reference = reference or answer["samples"]
                        self.assertEqual(answer["samples"], reference)
                        self.assertEqual((answer["method"], answer["shape"], answer["verified"]), ("exact", [N1, N2], True))
                        self.assertEqual((answer["law"], answer["scale"]), ("rows" if "--per-row" in law else "pairs", scale))
                        self.assertEqual(answer["failed"], [])
            self.assert_law(answer, scale, "--per-row" in law)
            self.assertEqual(len(reference), 20)
            distinct = "--without-replacement" in law
            self.assertEqual(all("inclusion" in sample for sample in reference), distinct)
            if distinct:
                self.assertEqual(len({tuple(sample["index"]) for sample in reference}), 20)

    def test_all_pairs_without_replacement(self):
        answer = self.succeed(*self.options, "--without-replacement", "--samples", N1 * N2 + 5, *self.fix("A1", "A2", "X")).json()
        self.assertEqual(len({tuple(sample["index"]) for sample in answer["samples"]}), N1 * N2)
        self.assertEqual({sample["inclusion"] for sample in answer["samples"]}, {1})
        self.assertIn("y has no more entries", answer["shortfall"])
        self.assertNotIn("not zero", answer["shortfall"])
        self.assertAlmostEqual(sum(sample["probability"] for sample in answer["samples"]), 1, places=9)

    def test_x_is_the_identity_by_default(self):
        square = self.write("square.csv", entry_events("A2", [row[:D1] for row in self.a2], random.Random(1)))
        answers = [self.succeed(*self.options, "--scale", "0.5", *self.fix("A1"), "--n2", N2, "--d2", D1, square, ranks=ranks).json()
                   for ranks in (None, 4)]
        self.assertEqual(answers[0]["samples"], answers[1]["samples"])
        for sample in answers[0]["samples"]:
            i1, i2 = sample["index"]
            self.assertEqual(sample["value"], sum(a * b for a, b in zip(self.a1[i1], self.a2[i2])))

    def test_the_zero_matrix_is_uniform(self):
        nothing = self.write("nothing.csv", "A1,0,0,1\nA1,0,0,-1\n")
        for law in ([], ["--per-row"]):
            answer = self.succeed(*self.options, *law, "--n1", 4, "--n2", 5, "--d1", 2, "--d2", 2, nothing, ranks=3).json()
            self.assertEqual(len(answer["samples"]), 8)
            for sample in answer["samples"]:
                self.assertAlmostEqual(sample["probability"], 0.05, places=12)

    def test_scale_of_other_models(self):
        vector = self.write("y.csv", "0,4\n1,-2\n2,0\n")
        options = ["sample", "--sampler", "softmax", "--json", "--seed", SEED]
        answer = self.succeed(*options, "--n", 3, "--scale", "0.5", vector).json()
        self.assertEqual((answer["law"], answer["scale"]), ("entries", 0.5))
        total = math.exp(2) + math.exp(-1) + 1
        for sample in answer["samples"]:
            self.assertEqual(sample["value"], (4, -2, 0)[sample["index"]])
            self.assertAlmostEqual(sample["probability"], math.exp(0.5 * sample["value"]) / total, places=12)
        self.assertEqual(self.succeed(*options, "--n", 3, vector).json()["scale"], 1)
        self.fail_with(2, *options, "--n", 3, "--scale", "sqrt", vector, naming=["--scale sqrt", "--model vector"])
        # Of a product D is the number of columns of A.
        a = "A=" + self.write("a.npy", as_npy([[4, 0, 0, 0], [-2, 0, 0, 0]]))
        one = self.write("one.csv", "x,0,1\n")
        for ranks in (None, 3):
            answer = self.succeed(*options, "--model", "product", "--scale", "sqrt", "--fixed", a, one, ranks=ranks).json()
            self.assertEqual(answer["scale"], 0.5)
            for sample in answer["samples"]:
                self.assertAlmostEqual(sample["probability"], math.exp(sample["value"] / 2) / (math.exp(2) + math.exp(-1)), places=12)

    def test_the_table_says_what_the_law_is(self):
        names = self.write("names.txt", "".join("token-%d\n" % i for i in range(N1)))
        table = self.succeed(*self.options[:-1], "--scale", "dim", "--per-row", "--labels", names, *self.fix("A1", "A2", "X")).out
        self.assertIn("exp(0.333333 y_(i1,i2)), every row i1 normalised by itself", table)
        self.assertIn("token-", table)
        self.assertIn("values and probabilities are exact", table)
        self.assertIn("exp(y_i)", self.succeed("sample", "--sampler", "softmax", "--n", 2, self.write("y.csv", "0,1\n")).out)

    def test_bad_usage(self):
        stream, state = self.streams[0], self.path("s.weir")
        self.succeed("sample", "--model", "kronecker", *self.sides, *self.streams, "--save", state)
        kronecker = ["--model", "kronecker", *self.sides]
        softmax = ["--sampler", "softmax"]
        for arguments, naming in (
                ([*kronecker, "--scale", 2, stream], "--scale belongs to --sampler softmax"),
                ([*kronecker, "--per-row", stream], "--per-row belongs to --sampler softmax"),
                ([*kronecker, "--sampler", "exact", "--scale", "sqrt", stream], "--scale belongs to --sampler softmax"),
                ([*kronecker, *softmax, "--scale", "root", stream], "--scale"),
                ([*kronecker, *softmax, "--scale", "nan", stream], "--scale"),
                ([*kronecker, *softmax, "--scale", "1e7", stream], "--scale"),
                ([*kronecker, *softmax, "--method", "two-stage", stream], "--sampler softmax contradicts --method two-stage"),
                ([*kronecker, *softmax, "--method", "streaming", stream], "--sampler softmax contradicts --method streaming"),
                ([*kronecker, *softmax, "--method", "exact", stream], "--sampler softmax contradicts --method exact"),
                ([*kronecker, *softmax, "--p", 2, stream], "--p is not for --sampler softmax"),
                ([*kronecker, *softmax, "--exact-check", stream], "--exact-check"),
                ([*kronecker, *softmax, "--save", self.path("t.weir"), stream], "--save"),
                ([*kronecker, *softmax, "--second-pass", stream], "--second-pass"),
                ([*kronecker, *softmax, "--gram", "exact", stream], "--gram"),
                ([*softmax, "--state", state], "a saved state is a sketch"),
                ([*kronecker[:-2], *softmax, "-"], "--d2"),
                (["--model", "kronecker", *softmax, "--n1", 2 ** 33, "--n2", 2 ** 31, "--d1", 1, "--d2", 1, stream], "more than 2^63"),
                (["--model", "rows", "--n", 3, "--d", 2, *softmax, stream], "--sampler softmax is not for --model rows"),
                (["--n", 3, *softmax, "--per-row", stream], "--per-row belongs to --model kronecker"),
                (["--model", "product", "--n", 3, "--d", 2, *softmax, "--per-row", stream], "--per-row belongs to --model kronecker")):
            with self.subTest(arguments=arguments):
                self.fail_with(2, "sample", *arguments, naming=naming)
        self.fail_with(2, *self.options, "--scale", "root", *self.sides, stream, ranks=3, naming="--scale")

    def test_bad_input(self):
        sides = ["--n1", 3, "--n2", 2, "--d1", 1, "--d2", 1]
        large = self.write("large.csv", "A1,2,0,1e200\nA2,1,0,1e200\n")
        scaled = self.write("scaled.csv", "A1,2,0,1e155\nA2,1,0,1e150\n")
        for ranks in (None, 3):
            for law in ([], ["--per-row"]):
                self.fail_with(1, *self.options, *law, *sides, large, ranks=ranks, naming="y[2, 1] is inf")
                self.fail_with(1, *self.options, *law, *sides, "--scale", 1e6, scaled, ranks=ranks, naming=["y[2, 1]", "the scale"])
            self.fail_with(1, *self.options, *sides[:-1], 2, large, ranks=ranks, naming="X")
            self.fail_with(1, *self.options, *sides, self.write("nan.csv", "A1,0,0,nan\n"), ranks=ranks, naming="nan.csv:1")
            self.fail_with(1, *self.options, *self.sides, self.write("far.csv", "A1,%d,0,1\n" % N1), ranks=ranks, naming="far.csv:1")
        empty = "A2=" + self.write("empty.npy", b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 3), }".ljust(117) + b"\n")
        self.fail_with(1, *self.options, "--fixed", empty, "--n1", N1, self.streams[0], naming=["empty.npy", "0 x 3 numbers of A2"])


if __name__ == "__main__":
    unittest.main()
