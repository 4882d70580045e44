"""What the output of weir says of itself: how many samples came and why, which sums are exact, numbers that survive JSON
tools, lengths taken from files, exact values from a second pass. harness.py says what these tests need."""

import gzip
import unittest

from harness import Case, as_npy, as_text, vector_events

FIRST_ROUNDED = 2 ** 53


class Promises(Case):
    def test_short_answers_say_so(self):
        file = self.write("events.csv", "1,5\n2,7\n3,-2\n")
        common = ["--n", 10, "--seed", 1]
        few = self.succeed("sample", *common, "--samples", 2, "--json", file).json()
        self.assertEqual(few["wanted"], 2)
        self.assertNotIn("shortfall", few)
        # A state has the lanes that it was made with.
        self.succeed("sample", *common, "--samples", 8, "--save", self.path("s.weir"), file)
        many = self.succeed("sample", "--state", self.path("s.weir"), "--samples", 100, "--json").json()
        self.assertEqual(many["wanted"], 100)
        self.assertLess(len(many["samples"]), 24)
        said = "%d samples of 100 came: the sketch has 23 lanes that draw, each at most once" % len(many["samples"])
        self.assertIn(said, many["shortfall"])
        self.assertIn(said, self.succeed("sample", "--state", self.path("s.weir"), "--samples", 100).out)
        # Without replacement all entries come, and no more.
        for sampler, said in (("perfect", "no more entries stood out"), ("exact", "y has no more entries")):
            answer = self.succeed("sample", *common, "--samples", 8, "--without-replacement", "--sampler", sampler, "--json",
                                  file).json()
            self.assertEqual(sorted(draw["index"] for draw in answer["samples"]), [1, 2, 3])
            self.assertEqual(answer["wanted"], 8)
            self.assertIn("3 samples of 8 came: " + said, answer["shortfall"])

    def test_lanes_that_gave_none(self):
        file = self.write("flat.csv", "".join("%d,1\n" % i for i in range(100)))
        answer = self.succeed("sample", "--n", 100, "--seed", 3, "--lanes", 8, "--samples", 7, "--json", file).json()
        self.assertLess(len(answer["samples"]), 7)
        self.assertIn("of 7 came: the others of the 7 lanes that draw gave none", answer["shortfall"])

    def test_sums_are_exact_or_said_not_to_be(self):
        for events, exact in (("1,5\n2,-7\n", True), ("1,0.1\n2,7\n", False), ("1,%d\n2,7\n" % 2 ** 36, False), ("1,0.5\n", False),
                              ("1,%d\n1,-%d\n" % (2 ** 40, 2 ** 40), True)):
            with self.subTest(events=events):
                file = self.write("sums.csv", events)
                answer = self.weir("sample", "--n", 10, "--seed", 1, "--json", file)
                self.assertEqual(answer.json()["exact_sums"], exact)
                self.assertEqual(self.succeed("query", "--n", 10, "--lanes", 8, "--seed", 1, "--json", file).json()["exact_sums"],
                                 exact)
                table = self.weir("sample", "--n", 10, "--seed", 1, file).out
                self.assertEqual("sums      rounded" in table, not exact)
        file = self.write("sums.csv", "1,0.1\n")
        self.assertNotIn("exact_sums", self.succeed("sample", "--n", 10, "--sampler", "exact", "--json", file).json())

    def test_numbers_that_json_tools_damage(self):
        largest = 2 ** 63 - 1
        file = self.write("large.csv", "%d,5\n%d,4\n" % (largest, FIRST_ROUNDED - 1))
        answer = self.succeed("sample", "--seed", 2 ** 64 - 1, "--json", file).json()
        self.assertEqual(answer["seed_text"], str(2 ** 64 - 1))
        indices = {draw["index"] for draw in answer["samples"]}
        self.assertEqual(indices, {largest, FIRST_ROUNDED - 1})
        for draw in answer["samples"]:
            if draw["index"] < FIRST_ROUNDED:
                self.assertNotIn("index_text", draw)
            else:
                self.assertEqual(draw["index_text"], str(draw["index"]))
        points = self.succeed("query", "--point", "%d,5" % largest, "--json", file).json()["points"]
        self.assertEqual(points[0]["index_text"], str(largest))
        self.assertNotIn("index_text", points[1])
        pair = self.write("pair.csv", "A1,%d,0,1\nA2,3,0,1\nX,0,0,2\n" % largest)
        draw = self.succeed("sample", "--model", "kronecker", "--n1", 2 ** 63, "--n2", 4, "--d1", 1, "--d2", 1, "--json",
                            pair).json()["samples"][0]
        self.assertEqual(draw["index_text"], [str(largest), "3"])

    def test_chosen_seeds_survive(self):
        file = self.write("events.csv", "1,5\n")
        seeds = {self.succeed("sample", "--n", 10, "--json", file).json()["seed"] for _ in range(8)}
        self.assertEqual(len(seeds), 8)
        self.assertLess(max(seeds), FIRST_ROUNDED)
        self.assertGreater(max(seeds), 2 ** 40)


class Like(Case):
    """--like takes model, sizes and seed from a state, and nothing else."""

    def test_makes_states_that_combine(self):
        first = self.write("first.csv", "1,5\n2,7\n")
        second = self.write("second.csv", "1,5\n2,7\n3,4\n")
        self.succeed("query", "--n", 100, "--epsilon", 0.05, "--save", self.path("first.weir"), first)
        self.succeed("sample", "--n", 100, "--save", self.path("other.weir"), second)
        self.fail_with(1, "combine", "-o", self.path("sum.weir"), "--add", self.path("first.weir"), self.path("other.weir"),
                       naming="do not combine: buckets: ")
        self.fail_with(1, "combine", "-o", self.path("sum.weir"), "--add", self.path("first.weir"), self.path("other.weir"),
                       naming="weir sample --like " + self.path("first.weir") + " makes states that do")
        like = ["--like", self.path("first.weir")]
        for ranks in (None, 3):
            answer = self.succeed("query", *like, "--save", self.path("second.weir"), "--json", second, ranks=ranks).json()
            self.assertEqual(answer["updates"], 3)
            self.assertAlmostEqual(answer["norm"], 90 ** 0.5)
            self.succeed("combine", "-o", self.path("difference.weir"), "--add", self.path("second.weir"), "--subtract",
                         self.path("first.weir"))
            top = self.succeed("query", "--state", self.path("difference.weir"), "--top", 2, "--json").json()["top"]
            self.assertEqual([(entry["index"], entry["value"]) for entry in top], [(3, 4)])

    def test_keeps_fixed_operands(self):
        x = self.write("x.txt", "2\n-1\n")
        events = self.write("A.csv", "A,0,0,3\nA,4,1,5\n")
        self.succeed("sample", "--model", "product", "--n", 10, "--fixed", "x=" + x, "--save", self.path("first.weir"), events)
        points = self.succeed("query", "--like", self.path("first.weir"), "--point", "0,4", "--json",
                              self.write("B.csv", "A,4,1,1\n")).json()["points"]
        self.assertEqual([entry["value"] for entry in points], [0, -1])

    def test_refuses(self):
        self.succeed("sample", "--n", 10, "--seed", 5, "--save", self.path("s.weir"), self.write("e.csv", "1,5\n"))
        like = ["--like", self.path("s.weir")]
        self.fail_with(2, "sample", *like, naming="--like needs a STREAM")
        self.fail_with(2, "sample", *like, "--state", self.path("s.weir"), naming="--state goes on from a saved state and --like starts anew")
        self.fail_with(2, "sample", *like, "--seed", 6, self.path("e.csv"), naming="--seed 6 contradicts the saved state")
        self.fail_with(1, "sample", "--like", self.path("none.weir"), self.path("e.csv"), naming="none.weir")


class Lengths(Case):
    """n, and other sides, that nobody gave."""

    def n_of(self, *arguments, **options):
        answer = self.succeed("sample", "--seed", 1, "--json", *arguments, **options).json()
        return answer.get("n", answer.get("shape"))

    def test_from_the_header_of_the_stream(self):
        vector = self.write("y.npy", as_npy([[float(i % 7)] for i in range(300)]))
        longer = self.write("z.npy", as_npy([[1.0] * 500]))
        matrix = self.write("m.mtx", "%%MatrixMarket matrix coordinate real general\n40 1 2\n3 1 5\n40 1 7\n")
        text = self.write("t.csv", "1,5\n")
        for ranks in (None, 3):
            self.assertEqual(self.n_of(vector, ranks=ranks), 300)
            self.assertEqual(self.n_of(vector, longer, ranks=ranks), 500)
            self.assertEqual(self.n_of(matrix, vector, ranks=ranks), 300)
            self.assertEqual(self.n_of(self.write("m.mtx.gz", gzip.compress(self.read("m.mtx"))), ranks=ranks), 40)
            # A file that does not say it may have any index.
            self.assertEqual(self.n_of(vector, text, ranks=ranks), 2 ** 63)
        self.assertEqual(self.n_of("-", stdin=b"1,5\n"), 2 ** 63)
        # What is given goes before.
        self.assertEqual(self.n_of("--n", 1000, vector), 1000)
        self.assertEqual(self.n_of("--sampler", "exact", vector), 300)

    def test_of_matrices(self):
        rows = self.write("A.npy", as_npy([[1.0, 2.0, float(i)] for i in range(20)]))
        answer = self.succeed("sample", "--model", "rows", "--seed", 1, "--json", rows).json()
        self.assertEqual((answer["n"], answer["d"]), (20, 3))
        x = self.write("x.txt", "1\n2\n3\n")
        answer = self.succeed("sample", "--model", "product", "--fixed", "x=" + x, "--seed", 1, "--json", rows).json()
        self.assertEqual((answer["n"], answer["d"]), (20, 3))
        self.fail_with(2, "sample", "--model", "rows", self.write("A.csv", "A,0,*,1,2\n"), naming="needs --d")
        wrong = self.write("x4.txt", "1\n2\n3\n4\n")
        self.fail_with(1, "sample", "--model", "product", "--fixed", "x=" + wrong, rows, naming="A.npy")

    def test_from_names(self):
        names = self.write("names.txt", "".join("name %d\n" % i for i in range(50)))
        file = self.write("events.csv", "7,5\n49,2\n")
        self.assertEqual(self.n_of("--labels", names, file), 50)
        self.assertEqual(self.n_of("--labels", names, "--n", 1000, file), 1000)
        beyond = self.write("beyond.csv", "7,5\n50,2\n")
        self.fail_with(1, "sample", "--labels", names, beyond,
                       naming=["beyond.csv:2", "names.txt has 50 lines, which was taken as n; --n says otherwise"])
        self.assertEqual(self.n_of("--labels", self.write("none.txt", ""), file), 2 ** 63)
        pairs = self.write("pairs.csv", "A1,0,0,1\nA2,3,0,1\nX,0,0,2\n")
        self.assertEqual(self.n_of("--model", "kronecker", "--d1", 1, "--d2", 1, "--labels", names, "--labels2",
                                   self.write("four.txt", "a\nb\nc\nd\n"), pairs), [50, 4])


class SecondPass(Case):
    N = 3000

    def setUp(self):
        super().setUp()
        self.events, self.y = vector_events(20000, self.N, 5)
        half = len(self.events) // 2
        self.files = [self.write("first.csv", as_text(self.events[:half])), self.write("second.csv", as_text(self.events[half:]))]

    def check(self, answer):
        self.assertTrue(answer["samples"])
        self.assertFalse(answer["verified"])
        for draw in answer["samples"]:
            self.assertEqual(draw["value"], self.y[draw["index"]])
            share = draw["value"] ** 2 / answer["norm"] ** 2
            self.assertAlmostEqual(draw["probability"], min(1, share), delta=1e-12)

    def test_of_streams(self):
        for options in ([], ["--without-replacement", "--samples", 50], ["--levels", 2]):
            for ranks in (None, 3):
                command = ["sample", "--n", self.N, "--seed", 4, "--json"] + options + self.files
                answer = self.succeed(*command, "--second-pass", ranks=ranks).json()
                self.check(answer)
                estimated = self.succeed(*command, ranks=ranks).json()
                drawn = [draw["index"] for draw in answer["samples"]]
                if "--without-replacement" not in options:
                    self.assertEqual(drawn, [draw["index"] for draw in estimated["samples"]])
                else:  # exact values may have another one for the threshold
                    self.assertEqual(len(drawn), 50)
                    self.assertGreaterEqual(len(set(drawn) & {draw["index"] for draw in estimated["samples"]}), 49)
        table = self.succeed("sample", "--n", self.N, "--second-pass", *self.files).out
        self.assertIn("values are exact, probabilities are estimates", table)

    def test_of_states(self):
        state = self.path("s.weir")
        self.succeed("sample", "--n", self.N, "--seed", 4, "--save", state, self.files[0])
        self.check(self.succeed("sample", "--state", state, "--json", self.files[1], "--second-pass", *self.files).json())
        self.succeed("sample", "--n", self.N, "--seed", 4, "--save", state, *self.files)
        for ranks in (None, 2):
            self.check(self.succeed("sample", "--state", state, "--json", "--second-pass", *self.files, ranks=ranks).json())
        self.fail_with(1, "sample", "--state", state, "--second-pass", self.files[0], naming="the second pass has read 10000 events")
        changed = self.write("changed.csv", as_text([(i, d + 1) for i, d in self.events]))
        self.fail_with(1, "sample", "--state", state, "--second-pass", changed, naming="another stream than the state was made of")

    def test_of_rows(self):
        rows = self.write("rows.csv", "".join("A,%d,*,%d,%d\n" % (i, i % 5, 7 - i) for i in range(30)))
        for metric in ("norm", "leverage"):
            answer = self.succeed("sample", "--model", "rows", "--n", 30, "--d", 2, "--metric", metric, "--seed", 2, "--json",
                                  "--second-pass", rows).json()
            for draw in answer["samples"]:
                self.assertEqual(draw["row"], [draw["index"] % 5, 7 - draw["index"]])
                if metric == "norm":
                    self.assertAlmostEqual(draw["value"] ** 2, sum(entry ** 2 for entry in draw["row"]), places=6)

    def test_of_products(self):
        events = self.write("product.csv", "".join("A,%d,%d,%d\n" % (i, i % 3, i) for i in range(40)) + "x,0,2\nx,1,-1\nx,2,1\n")
        answer = self.succeed("sample", "--model", "product", "--n", 40, "--d", 3, "--seed", 2, "--json", "--second-pass",
                              events, ranks=2).json()
        self.assertTrue(answer["samples"])
        for draw in answer["samples"]:
            self.assertEqual(draw["value"], draw["index"] * [2, -1, 1][draw["index"] % 3])

    def test_refuses(self):
        self.fail_with(2, "sample", "--n", 10, "--second-pass", "--", "-", naming="comes only once")
        self.fail_with(2, "sample", "--n", 10, "--sampler", "exact", "--second-pass", self.files[0], naming="--second-pass is for sketches")
        self.fail_with(2, "sample", "--n", 10, self.files[0], "--second-pass", self.files[1], naming="expected no FILES, or the same")
        self.succeed("sample", "--n", self.N, "--save", self.path("s.weir"), self.files[0])
        self.fail_with(2, "sample", "--state", self.path("s.weir"), "--second-pass", naming="needs the FILES")


if __name__ == "__main__":
    unittest.main()
