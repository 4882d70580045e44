"""--plot as a user runs it: the pictures are XML, and show what JSON says. harness.py says what the tests need."""

import os
import random
import unittest
import xml.etree.ElementTree

from harness import Case, as_npy

SVG = "{http://www.w3.org/2000/svg}"
STRANGE = 'a < b & "c"'


class Picture:
    """The parts of an SVG document of weir."""

    def __init__(self, document):
        self.root = xml.etree.ElementTree.fromstring(document)
        self.texts = ["".join(element.itertext()) for element in self.root.iter(SVG + "text")]
        # Every mark of a series has a title "SERIES: PLACE, NUMBER"; the document has one of its own.
        self.marks = [mark.find(SVG + "title").text for mark in self.root.iter()
                      if mark.tag in (SVG + "circle", SVG + "path") and mark.find(SVG + "title") is not None]

    def of(self, series):
        """What the marks of a series say: the place and the number of each."""
        return [mark[len(series) + 2:] for mark in self.marks if mark.startswith(series + ": ")]

    def has(self, text):
        return any(text in line for line in self.texts)

    def bars(self):
        """Error bars; each has two ends and a line between them."""
        return sum(path.get("d").count("M") for path in self.root.iter(SVG + "path") if path.get("class").startswith("bar "))


class PlotCase(Case):
    def setUp(self):
        super().setUp()
        self.svg = self.path("p.svg")

    def plot(self, *arguments, code=0, ranks=None, options=("--json",)):
        """The JSON object, if that was asked for, and the picture."""
        outcome = self.weir(*arguments, "--plot", self.svg, *options, ranks=ranks)
        self.assertEqual(outcome.code, code, outcome.err)
        self.assertNotIn("weir-", " ".join(os.listdir(self.folder)))
        return (outcome.json() if "--json" in options else outcome.out), Picture(self.read("p.svg"))


class Plots(PlotCase):
    def setUp(self):
        super().setUp()
        self.events = self.write("events.csv", "0,8\n1,6\n2,-4\n3,1\n3,1\n")

    def test_samples_show_what_json_says(self):
        labels = self.write("labels.txt", STRANGE + "\n" + "x" * 60 + "\n10^3\n\xe9\n")
        for ranks in (None, 3):
            answer, picture = self.plot("sample", "--n", 4, "--samples", 40, "--seed", 3, "--exact-check", "--labels", labels, self.events,
                                        ranks=ranks)
            drawn = {sample["index"]: sample for sample in answer["samples"]}
            self.assertGreater(len(drawn), 1)
            # Once in the chart of probabilities and once in that of values.
            self.assertEqual(len(picture.of("estimate")), 2 * len(drawn))
            self.assertEqual(len(picture.of("exact")), 2 * len(drawn))
            self.assertEqual(len(picture.of("share of the draws")), len(drawn))
            self.assertEqual(picture.bars(), sum((sample["value_bound"] > 0) + (sample["probability_bound"] > 0) for sample in drawn.values()))
            names = {0: STRANGE, 1: "x" * 15 + "…" + "x" * 14, 2: "10^3", 3: "\xe9"}
            for index in drawn:
                self.assertEqual(picture.texts.count(names[index]), 1)
            self.assertTrue(picture.has("probability in proportion to |y_i|^2"))
            # In the order of the probabilities, with how often each came.
            order = sorted(drawn, key=lambda index: -drawn[index]["probability"])
            for index, mark in zip(order, picture.of("share of the draws")):
                times = sum(sample["index"] == index for sample in answer["samples"])
                self.assertEqual(mark, "%s, %.4g%%" % (names[index], 100 * times / len(answer["samples"])))

    def test_a_table_comes_with_the_same_picture(self):
        arguments = ["sample", "--n", 4, "--seed", 3, self.events]
        self.plot(*arguments)
        first = self.read("p.svg")
        table, _ = self.plot(*arguments, options=())
        self.assertIn("probability", table)
        self.assertEqual(self.read("p.svg"), first)

    def test_exact_draws_have_no_bars(self):
        for sampler in ("exact", "softmax"):
            answer, picture = self.plot("sample", "--n", 4, "--samples", 50, "--seed", 1, "--sampler", sampler, self.events)
            drawn = {sample["index"] for sample in answer["samples"]}
            self.assertEqual(len(picture.of("exact")), 2 * len(drawn))
            self.assertEqual((picture.of("estimate"), picture.bars()), ([], 0))
        self.assertTrue(picture.has("exp(y_i)"))

    def test_a_second_pass_makes_values_exact(self):
        answer, picture = self.plot("sample", "--n", 4, "--seed", 3, "--second-pass", self.events)
        drawn = {sample["index"] for sample in answer["samples"]}
        self.assertEqual((len(picture.of("estimate")), len(picture.of("exact"))), (len(drawn), len(drawn)))

    def test_distinct_draws_have_inclusions_in_place_of_shares(self):
        answer, picture = self.plot("sample", "--n", 4, "--samples", 2, "--seed", 3, "--without-replacement", self.events)
        self.assertEqual(len(picture.of("probability of being among the draws")), len(answer["samples"]))
        self.assertEqual(picture.of("share of the draws"), [])

    def test_at_most_forty_entries_are_shown(self):
        many = self.write("many.csv", "".join("%d,%d\n" % (i, 50 + i) for i in range(64)))
        answer, picture = self.plot("sample", "--n", 64, "--samples", 400, "--sampler", "exact", "--seed", 2, many)
        distinct = len({sample["index"] for sample in answer["samples"]})
        self.assertGreater(distinct, 40)
        self.assertEqual(len(picture.of("share of the draws")), 40)
        self.assertTrue(picture.has("The 40 most probable of %d distinct indices are shown." % distinct))
        _, picture = self.plot("query", "--n", 64, "--point", ",".join(map(str, range(64))), many)
        self.assertEqual(len(picture.of("estimate")), 40)
        self.assertTrue(picture.has("The first 40 of 64 entries are shown."))

    def test_other_models(self):
        rows = self.write("rows.csv", "A,0,*,1,0\nA,1,*,1,0\nA,2,*,0,5\n")
        _, picture = self.plot("sample", "--model", "rows", "--n", 3, "--d", 2, "--seed", 1, "--metric", "leverage", rows)
        self.assertTrue(picture.has("root of a_i^T M a_i") and picture.has("a_i^T M a_i"))
        x = self.write("x.txt", "1\n2\n")
        answer, picture = self.plot("sample", "--model", "product", "--n", 3, "--fixed", "x=" + x, "--seed", 1, rows)
        self.assertEqual(len(picture.of("share of the draws")), len({sample["index"] for sample in answer["samples"]}))
        factors = self.write("factors.csv", "A1,0,*,3,1\nA1,1,*,-2,2\nA2,0,*,1,0\nA2,1,*,2,-1\nA2,2,*,0,3\n")
        sides = ["--model", "kronecker", "--n1", 2, "--n2", 3, "--d1", 2, "--d2", 2]
        labels = self.write("labels.txt", "q0\nq1\n")
        for method in ("two-stage", "exact"):
            answer, picture = self.plot("sample", *sides, "--method", method, "--seed", 1, "--labels", labels, "--labels2",
                                        self.write("keys.txt", "k0\n\nk2\n"), factors)
            self.assertTrue(picture.has("entry (i1, i2)"))
            for sample in answer["samples"]:
                i1, i2 = sample["index"]
                # A label without characters is no name.
                self.assertEqual(picture.texts.count("(q%d, %s)" % (i1, "1" if i2 == 1 else "k%d" % i2)), 1)
        _, picture = self.plot("query", *sides, "--point", "1:2", factors)
        self.assertTrue(picture.of("estimate")[0].startswith("(1, 2), "))

    def test_saved_states(self):
        state = self.path("s.weir")
        self.succeed("sample", "--n", 4, "--seed", 3, "--save", state, self.events)
        _, picture = self.plot("sample", "--state", state)
        self.assertTrue(picture.of("estimate"))
        answer, picture = self.plot("query", "--state", state, "--top", 2, "--inner", state)
        self.assertEqual(len(picture.of("estimate")), len(answer["top"]) + 1)

    def test_queries_show_what_was_asked_for(self):
        answer, picture = self.plot("query", "--n", 4, "--seed", 3, "--top", 3, "--point", "0,2", "--moment", "1,2", "--norm", self.events)
        for title in ("Largest entries", "Entries asked for", "Moments", "Norm"):
            self.assertEqual(picture.texts.count(title), 1)
        self.assertEqual(len(picture.of("estimate")), len(answer["top"]) + 2 + 2 + 1)
        _, picture = self.plot("query", "--n", 4, self.events)
        self.assertEqual([mark.split(",")[0] for mark in picture.of("estimate")], ["||y||_2"])
        self.assertFalse(picture.has("Moments"))

    def test_the_zero_vector_has_a_picture_that_says_so(self):
        zero = self.write("zero.csv", "1,2\n1,-2\n")
        _, picture = self.plot("sample", "--n", 4, zero, code=3)
        self.assertTrue(picture.has("y is the zero vector"))
        self.assertEqual((picture.marks, picture.has("0.5")), ([], False))
        _, picture = self.plot("query", "--n", 4, "--top", 2, zero)
        self.assertTrue(picture.has("no entry: y is the zero vector"))
        _, picture = self.plot("sample", "--model", "rows", "--n", 2, "--d", 1, self.write("rows.csv", "A,0,0,1\nA,0,0,-1\n"), code=3)
        self.assertTrue(picture.has("is 0 for every row"))

    def test_bytes_that_are_not_utf8_do_no_harm(self):
        labels = self.write("labels.txt", b"\xff\xc3\n\xed\xa0\x80\n\xef\xbf\xbf\n\x01\n")
        _, picture = self.plot("sample", "--n", 4, "--samples", 40, "--seed", 3, "--labels", labels, self.events)
        self.assertTrue(picture.has("\ufffd"))

    def test_errors(self):
        text = self.events
        for command in (["sample", "--n", 4, text], ["query", "--n", 4, text], ["attend", "--q", text, "--k", text, "--v", text]):
            for name in ("p.png", "svg", "p.svg.gz"):
                self.fail_with(2, *command, "--plot", self.path(name), naming=["--plot", name, "expected a name that ends in .svg"])
            # Found out before anything is read: the stream is not there either.
            missing = [self.path("nothing") if argument == text else argument for argument in command]
            for ranks in (None, 2):
                self.fail_with(1, *missing, "--plot", self.path("none/p.svg"), ranks=ranks, naming="none/p.svg")
        self.assertEqual(sorted(os.listdir(self.folder)), ["events.csv"])

    def test_a_failed_job_leaves_the_old_picture(self):
        self.write("p.svg", "old")
        bad = self.write("bad.csv", "0,1\nx\n")
        self.fail_with(1, "sample", "--n", 4, "--plot", self.svg, bad, naming="bad.csv")
        self.assertEqual(self.read("p.svg"), b"old")


class PlotsOfAttention(PlotCase):
    N, D = 300, 4

    def setUp(self):
        super().setUp()
        source = random.Random(2)
        self.files = []
        for name in ("q", "k", "v"):
            rows = [[source.gauss(0, 1) for _ in range(self.D)] for _ in range(self.N)]
            self.files += ["--" + name, self.write(name + ".npy", as_npy(rows))]

    def test_estimated_errors(self):
        for ranks in (None, 2):
            _, picture = self.plot("attend", *self.files, "--budget", "8KiB", ranks=ranks)
            self.assertTrue(picture.has("estimated error"))
            self.assertTrue(picture.has("240 of 300 queries are shown"))
            self.assertEqual(picture.of("true error"), [])
            self.assertFalse(picture.has("uniform"))
        # A state that goes on has its estimates too.
        state = self.path("s.weir")
        self.succeed("attend", *self.files[2:], "--budget", "8KiB", "--save", state)
        _, picture = self.plot("attend", "--state", state, *self.files[:2])
        self.assertTrue(picture.has("estimated error"))

    def test_true_errors_and_peers(self):
        answer, picture = self.plot("attend", *self.files, "--budget", "8KiB", "--compare")
        self.assertEqual(len(picture.of("true error")), 240)
        for series in ("median of the queries", "99% of the queries", "largest", "all outputs (Frobenius)"):
            self.assertEqual(len(picture.of(series)), 1 + len(answer["peers"]))
        for name in ["anisotropic", *answer["peers"]]:
            self.assertTrue(any(text.startswith(name + ", ") and text.endswith("KiB") for text in picture.texts), name)
        # The largest query is always among those that are shown, and its error is that of JSON.
        largest = max(float(mark.split(", ")[1]) for mark in picture.of("true error") if "^" not in mark)
        self.assertLessEqual(largest, answer["error"]["max"] * 1.001)

    def test_causal_errors_stand_against_the_number_of_the_query(self):
        _, picture = self.plot("attend", *self.files, "--budget", "16KiB", "--causal", "--compare")
        self.assertTrue(picture.has("number of the query"))
        self.assertEqual(len(picture.of("estimated error")), 240)
        # The first queries see nothing but exact rows: their errors are those of rounding.
        left_out = 240 - len(picture.of("true error"))
        self.assertTrue(0 < left_out < 240)
        self.assertTrue(picture.has("%d points are not drawn" % left_out))
        self.assertTrue(picture.has("those of rounding"))
        _, picture = self.plot("attend", *self.files, "--budget", "16KiB", "--sliding", 32, "--compare")
        self.assertFalse(picture.has("uniform"))

    def test_modes_without_estimates(self):
        answer, picture = self.plot("attend", *self.files, "--mode", "direct", "--compare")
        self.assertEqual(len(picture.of("true error")), 240)
        self.assertFalse(picture.has("estimated"))
        self.assertTrue(picture.has("direct, "))
        self.plot("attend", *self.files, "--mode", "exact", "--compare")

    def test_what_has_no_errors_to_show_is_refused(self):
        plot = ["--plot", self.svg]
        self.fail_with(2, "attend", *self.files, *plot, "--mode", "direct", naming=["--plot", "--mode direct", "--compare"])
        self.fail_with(2, "attend", *self.files, *plot, "--no-estimate", naming=["--plot", "--no-estimate", "--compare"])
        self.fail_with(2, "attend", *self.files[2:], *plot, "--save", self.path("s.weir"), naming="--q")
        state = self.path("s.weir")
        self.succeed("attend", *self.files[2:], "--mode", "direct", "--save", state)
        self.fail_with(2, "attend", "--state", state, *self.files[:2], *plot, naming=["--plot", "--compare", "no --state"])
        self.assertFalse(os.path.exists(self.svg))


if __name__ == "__main__":
    unittest.main()
