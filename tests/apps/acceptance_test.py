"""Acceptance tests of the program weir: what a user types, what comes back. harness.py says what they need."""

import gzip
import json
import os
import random
import struct
import subprocess
import threading
import unittest

from harness import ALONE, DEMO, MPIEXEC, PROGRAM, TIMEOUT, Case, as_text, npy, vector_events, without_times


class Streams(Case):
    """Same seed and same whole-valued stream: the same answer and the same state, however it arrives."""

    N = 5000

    def setUp(self):
        super().setUp()
        self.events, self.y = vector_events(30000, self.N, 1)
        self.text = as_text(self.events)
        self.file = self.write("events.csv", self.text)
        self.options = ["--n", self.N, "--seed", "0x2a", "--json"]
        self.reference = self.sample(self.file, save="reference.weir")

    def sample(self, *streams, save="other.weir", **options):
        answer = self.succeed("sample", *self.options, "--save", self.path(save), *streams, **options).json()
        return without_times(answer)

    def assert_same(self, *streams, **options):
        self.assertEqual(self.sample(*streams, **options), self.reference)
        self.assertEqual(self.table("other.weir"), self.table("reference.weir"))

    def table(self, name):
        """The cells, which end the file; before them is the number of ranks, which may differ."""
        sketch = self.reference["sketch"]
        return self.read(name)[-sketch["bytes"]:]

    def test_reference_is_right(self):
        self.assertEqual(self.reference["updates"], len(self.events))
        norm = sum(v * v for v in self.y.values()) ** 0.5
        # A row of the sketch has a relative variance of 2 / B in the squared norm: five of its standard deviations.
        self.assertLess(abs(self.reference["norm"] ** 2 / norm ** 2 - 1), 5 * (2 / self.reference["sketch"]["buckets"]) ** 0.5)
        self.assertTrue(any(self.table("reference.weir")))

    def test_any_number_of_ranks(self):
        for ranks in (1, 2, 3, 4):
            with self.subTest(ranks=ranks):
                self.assert_same(self.file, ranks=ranks)

    def test_sums_on_all_ranks(self):
        for ranks in (None, 3):
            with self.subTest(ranks=ranks):
                self.assert_same("--merge", "distributed", self.file, ranks=ranks)
        query = ["query", "--n", self.N, "--seed", 9, "--every", 8000, "--top", 3, "--norm", self.file]
        alone = [json.loads(line) for line in self.succeed(*query).out.splitlines()]
        shared = [json.loads(line) for line in self.succeed(*query, "--merge", "distributed", ranks=2).out.splitlines()]
        self.assertGreater(len(shared), 3)
        self.assertEqual((shared[-1]["norm"], shared[-1]["top"]), (alone[-1]["norm"], alone[-1]["top"]))
        self.fail_with(2, "sample", "--n", 5, "--merge", "everywhere", self.file, naming=["--merge", "distributed"])

    def test_any_order(self):
        shuffled = self.events[:]
        random.Random(2).shuffle(shuffled)
        self.assert_same(self.write("shuffled.csv", as_text(shuffled)), ranks=3)

    def test_any_number_of_files(self):
        parts = [self.write("part%d.csv" % k, as_text(self.events[k::3])) for k in range(3)]
        self.assert_same(*parts)
        self.assert_same(*parts, ranks=2)

    def test_compressed(self):
        packed = self.write("events.csv.gz", gzip.compress(self.text.encode()))
        self.assert_same(packed)
        self.assert_same(packed, ranks=3)

    def test_binary(self):
        self.succeed("convert", self.file, "-o", self.path("events.bin"))
        self.assert_same(self.path("events.bin"))
        self.assert_same(self.path("events.bin"), ranks=4)

    def test_standard_input(self):
        self.assert_same("-", stdin=self.text.encode())
        self.assert_same("-", ranks=3, stdin=self.text.encode())

    def test_named_pipe(self):
        def feed(name, text):
            with open(name, "w") as pipe:
                pipe.write(text)
        half = len(self.events) // 2
        file = self.write("half.csv", as_text(self.events[:half]))
        os.mkfifo(self.path("pipe"))
        for ranks in (None, 3):
            writer = threading.Thread(target=feed, args=(self.path("pipe"), as_text(self.events[half:])), daemon=True)
            writer.start()
            self.assert_same(self.path("pipe"), file, ranks=ranks)
            writer.join(TIMEOUT)

    def test_files_and_standard_input_together(self):
        half = len(self.events) // 2
        file = self.write("half.csv", as_text(self.events[:half]))
        self.assert_same(file, "-", ranks=2, stdin=as_text(self.events[half:]).encode())

    def test_split_updates(self):
        halves = [(i, d - 1) for i, d in self.events] + [(i, 1) for i, d in self.events]
        answer = self.sample(self.write("halves.csv", as_text(halves)), ranks=2)
        self.assertEqual(without_times(answer, "updates"), without_times(self.reference, "updates"))
        self.assertEqual(self.table("other.weir"), self.table("reference.weir"))

    def test_every_option_is_reproducible(self):
        for extra in (["--without-replacement", "--buckets", 512], ["--p", 1], ["--p", "0.5"], ["--levels", 2],
                      ["--randomness", "kwise"], ["--randomness", "nisan"], ["--sampler", "exact"], ["--sampler", "exact", "--without-replacement"]):
            with self.subTest(extra=extra):
                command = ["sample", "--n", self.N, "--seed", 9, "--json", self.file] + extra
                alone = self.succeed(*command).json()
                self.assertTrue(alone["samples"])
                self.assertEqual(without_times(alone), without_times(self.succeed(*command, ranks=2).json()))

    def test_seed_is_reported_and_matters(self):
        first = self.succeed("sample", "--n", self.N, "--json", self.file).json()
        second = self.succeed("sample", "--n", self.N, "--json", self.file).json()
        self.assertNotEqual(first["seed"], second["seed"])
        again = self.succeed("sample", "--n", self.N, "--json", "--seed", first["seed"], self.file).json()
        self.assertEqual(without_times(first), without_times(again))

    def test_progress_goes_to_standard_error_in_whole_lines(self):
        outcome = self.succeed("sample", *self.options, "--progress", "0.000001", self.file, ranks=2)
        self.assertEqual(without_times(outcome.json()), self.reference)
        lines = outcome.err.splitlines()
        self.assertTrue(lines)
        for line in lines:
            self.assertRegex(line, r"^weir: [0-9.]+ s: .*[0-9]+ updates .*2 ranks")


class Answers(Case):
    def test_product_with_labels_and_exact_values(self):
        ones = self.write("ones.txt", "1\n" * 58)
        outcome = self.succeed("sample", "--model", "product", "--n", 50803, "--fixed", "x=" + ones, "--labels",
                               os.path.join(DEMO, "packages.txt"), "--exact-check", "--json", "--seed", 5, "--samples", 20,
                               os.path.join(DEMO, "events.csv.gz"), ranks=2)
        answer = outcome.json()
        self.assertEqual(answer["model"], "product")
        self.assertEqual(answer["n"], 50803)
        self.assertEqual(answer["ranks"], 2)
        self.assertEqual(answer["updates"], 387564)
        # In-degrees counted by the authors of the data set.
        squared_norm = 710644120
        degree = {"libc6": 21841, "libstdc++6": 7464, "python3": 6472, "libgcc-s1": 6282, "perl": 5118, "libglib2.0-0": 2859}
        self.assertAlmostEqual(answer["exact_norm"] ** 2 / squared_norm, 1, places=12)
        seen = {sample["label"]: sample["exact"] for sample in answer["samples"]}
        self.assertIn("libc6", seen)  # Two draws in three.
        for label, exact in seen.items():
            if label in degree:
                self.assertEqual(exact["value"], degree[label])
                self.assertAlmostEqual(exact["probability"], degree[label] ** 2 / squared_norm, places=12)
        self.assertLessEqual(len(answer["samples"]), 20)
        for key in ("norm", "sketch", "seconds", "failed"):
            self.assertIn(key, answer)

    def test_product_against_the_vector_stream_it_stands_for(self):
        source = random.Random(3)
        x = [2, -3, 5, 0]
        events = [(source.randrange(100), source.randrange(4), source.randrange(-4, 5)) for _ in range(3000)]
        product = self.write("a.csv", "".join("A,%d,%d,%d\n" % event for event in events))
        vector = self.write("y.csv", "".join("%d,%d\n" % (i, delta * x[j]) for i, j, delta in events))
        fixed = "x=" + self.write("x.txt", "".join("%d\n" % entry for entry in x))
        b = self.succeed("sample", "--n=100", "--seed=1", "--json", vector)
        for ranks in (1, 2, 4):
            a = self.succeed("sample", "--model=product", "--n=100", "--fixed=" + fixed, "--seed=1", "--json", product, ranks=ranks)
            self.assertEqual(without_times(a.json(), "model", "d"), without_times(b.json(), "model"))

    def test_whole_rows_against_the_vector_stream_they_stand_for(self):
        source = random.Random(4)
        x = [2, -3, 5, 0]
        rows = [[source.randrange(-9, 10) for _ in x] for _ in range(300)]
        product = [sum(a * b for a, b in zip(row, x)) for row in rows]
        vector = self.write("y.csv", "".join("%d,%d\n" % event for event in enumerate(product)))
        columns = [row[j] for j in range(4) for row in rows]
        text = "".join("A,%d,*,%s\n" % (i, ",".join(map(str, row))) for i, row in enumerate(rows))
        streams = {
            "rows.csv": text.encode(),
            "rows.csv.gz": gzip.compress(text.encode()),
            "c.npy": npy("<i2", rows, struct.pack("<1200h", *[value for row in rows for value in row])),
            "f.npy": npy(">f8", rows, struct.pack(">1200d", *columns), fortran=True),
        }
        streams["c.npy.gz"] = gzip.compress(streams["c.npy"])
        product = ["sample", "--model=product", "--n=300", "--fixed=x=" + self.write("x.txt", "".join("%d\n" % e for e in x)),
                   "--seed=1", "--json"]
        expected = without_times(self.succeed("sample", "--n=300", "--seed=1", "--json", vector).json(), "model", "updates")
        for name, content in streams.items():
            for ranks in (1, 3):
                with self.subTest(name=name, ranks=ranks):
                    answers = [self.succeed(*product, self.write(name, content), ranks=ranks).json()]
                    if name != "f.npy":
                        answers.append(self.succeed(*product, "-", stdin=content, ranks=ranks).json())
                    for answer in answers:
                        self.assertEqual(answer["updates"], 300)
                        self.assertEqual(without_times(answer, "model", "updates", "d"), expected)
        self.fail_with(1, *product, "-", stdin=streams["f.npy"], naming=["standard input", "Fortran order"])
        self.fail_with(1, *product, "--d=4", self.write("wide.npy", npy("|i1", [[0] * 5], bytes(5))), naming=["wide.npy", "1 x 5"])
        self.fail_with(1, *product, self.write("short.csv", text + "A,1,*,1,2,3\n"), naming=["short.csv:301", "missing value"])

        # A window: what came as rows leaves as rows.
        leaving = self.write("leaving.csv", text + text.replace("*", "-*"))
        self.assertTrue(self.fail_zero(*product, leaving).json()["zero_vector"])

    def fail_zero(self, *arguments):
        outcome = self.weir(*arguments)
        self.assertEqual(outcome.code, 3, outcome.err)
        return outcome

    def test_rows_are_converted_and_inspected(self):
        array = self.write("a.npy", npy("<f4", [[1, 0], [0, 0], [2.5, -1]], struct.pack("<6f", 1, 0, 0, 0, 2.5, -1)))
        found = self.succeed("inspect", array, "--json").json()
        self.assertEqual((found["kind"], found["format"], found["shape"], found["events"]), ("events", ".npy", [3, 2], 3))
        self.assertEqual(found["operands"], [{"operand": "A", "events": 3, "i": [0, 2], "j": [0, 1], "rows": 3, "whole_deltas": False}])
        self.assertIn("3 of them whole rows", self.succeed("inspect", array).out)
        outcome = self.succeed("convert", array, "--operand", "A1", "-o", self.path("a.csv"))
        self.assertEqual(self.read("a.csv"), b"A1,0,*,1,0\nA1,1,*,0,0\nA1,2,*,2.5,-1\n")
        self.assertIn("wrote 3 events", outcome.err)
        outcome = self.succeed("convert", self.path("a.csv"), "-o", self.path("a.bin"))
        self.assertIn("wrote 3 events", outcome.err)  # The non-zero entries.
        self.succeed("convert", self.path("a.bin"), "-o", self.path("b.csv"))
        self.assertEqual(self.read("b.csv"), b"A1,0,0,1\nA1,2,0,2.5\nA1,2,1,-1\n")
        self.assertEqual(self.succeed("query", "--n=3", "--norm", self.write("y.npy", npy("|u1", [[3]] * 3, bytes([3, 0, 4]))),
                                      "--json").json()["updates"], 2)

    def test_matrix_market_stream_and_operand(self):
        matrix = self.write("a.mtx", "%%MatrixMarket matrix coordinate real general\n3 2 3\n1 1 4\n2 2 1\n3 1 1\n")
        x = self.write("x.mtx", "%%MatrixMarket matrix array real general\n2 1\n1\n0\n")
        answer = self.succeed("sample", "--model", "product", "--n", 3, "--fixed", "x=" + x, "--sampler", "exact", "--json",
                              matrix).json()
        self.assertAlmostEqual(answer["norm"], 17 ** 0.5, places=12)
        self.assertLessEqual({sample["index"] for sample in answer["samples"]}, {0, 2})

    def test_one_coordinate_is_always_drawn_with_its_value(self):
        file = self.write("one.csv", "7,3\n7,-5\n")
        answer = self.succeed("sample", "--n", 2 ** 40, "--samples", 3, "--failure", "0.001", "--seed", 1, "--json", file).json()
        self.assertEqual(answer["norm"], 2)
        self.assertEqual(len(answer["samples"]), 3)
        for sample in answer["samples"]:
            self.assertEqual((sample["index"], sample["value"], sample["probability"]), (7, -2, 1))

    def test_without_replacement_indices_are_distinct(self):
        file = self.write("flat.csv", "".join("%d,1\n" % i for i in range(100)))
        answer = self.succeed("sample", "--n", 100, "--without-replacement", "--samples", 10, "--buckets", 1024, "--seed", 1, "--json", file).json()
        self.assertEqual(len({sample["index"] for sample in answer["samples"]}), 10)
        for sample in answer["samples"]:
            self.assertTrue(0 < sample["inclusion"] <= 1)

    def test_without_a_length_any_index_is_taken(self):
        largest = 2 ** 63 - 1
        file = self.write("ids.csv", "%d,3\n5,-1\n" % largest)
        for randomness, n in (("mix", 2 ** 63), ("kwise", 2 ** 61 - 1), ("nisan", 2 ** 61 - 1)):
            small = self.write("small.csv", "%d,3\n5,-1\n" % (n - 1))
            answer = self.succeed("sample", "--randomness", randomness, "--seed", 4, "--json", small).json()
            self.assertEqual(answer["n"], n)
            self.assertEqual({item["index"]: item["value"] for item in answer["samples"] if item["index"] == n - 1}, {n - 1: 3})
            self.assertLessEqual({item["index"] for item in answer["samples"]}, {5, n - 1})
        first = self.path("first.weir")
        self.succeed("sample", "--seed", 4, "--save", first, file)
        self.succeed("sample", "--seed", 4, "--save", self.path("second.weir"), self.write("other.csv", "7,1\n"))
        self.succeed("combine", "-o", self.path("sum.weir"), "--add", first, "--add", self.path("second.weir"))

    def test_commands_of_one_process_run_once_under_a_launcher(self):
        file = self.write("e.csv", "1,1\n2,2\n")
        alone = self.succeed("inspect", file).out
        self.assertEqual(self.succeed("inspect", file, ranks=3).out, alone)

    def test_zero_vector_cannot_be_drawn_from(self):
        events, _ = vector_events(5000, 1000, 4)
        gone = as_text(events) + as_text([(i, -delta) for i, delta in reversed(events)])
        file = self.write("gone.csv", gone)
        for ranks in (None, 3):
            for sampler in ("perfect", "exact"):
                outcome = self.weir("sample", "--n", 1000, "--json", "--sampler", sampler, file, ranks=ranks)
                self.assertEqual(outcome.code, 3, outcome.err)
                answer = outcome.json()
                self.assertEqual((answer["samples"], answer["norm"], answer["zero_vector"]), ([], 0, True))
                self.assertEqual(answer["reason"], "zero vector")
        table = self.weir("sample", "--n", 1000, file)
        self.assertEqual(table.code, 3)
        self.assertIn("zero vector", table.out)

    def test_zero_vector_of_any_law(self):
        # So many keys, scaled up by the heavy tails of a small p, leave rounding in the scaled lanes.
        keys = range(50000)
        file = self.write("gone.csv", as_text([(i, i % 1000 + 1) for i in keys]) + as_text([(i, -(i % 1000) - 1) for i in reversed(keys)]))
        for p in (2, 1, 0.5):
            for extra in ([], ["--without-replacement"]):
                for ranks in (None, 3):
                    with self.subTest(p=p, extra=extra, ranks=ranks):
                        outcome = self.weir("sample", "--n", len(keys), "--p", p, "--seed", 1, "--json", file, *extra, ranks=ranks)
                        self.assertEqual(outcome.code, 3, outcome.err)
                        answer = outcome.json()
                        self.assertEqual((answer["samples"], answer["reason"]), ([], "zero vector"))

    def test_equal_neighbours_are_both_heavy(self):
        n = 2 ** 28
        source = random.Random(6)
        file = self.write("twins.csv", as_text([(n // 3 * 2, 1000), (n // 3 * 2 + 1, 1000)] + [(source.randrange(n), 1) for _ in range(300)]))
        for seed in range(10):
            answer = self.succeed("query", "--n", n, "--top", 2, "--seed", seed, "--json", file).json()
            self.assertEqual({item["index"] for item in answer["top"]}, {n // 3 * 2, n // 3 * 2 + 1}, seed)

    def test_table_for_people(self):
        file = self.write("events.csv", "0,1\n1,100\n")
        labels = self.write("labels.txt", "small\nlarge\n")
        outcome = self.succeed("sample", "--n", 2, "--seed", 1, "--labels", labels, file)
        self.assertIn("probability", outcome.out)
        self.assertIn("large", outcome.out)

    def test_query(self):
        events, y = vector_events(20000, 1000, 5)
        file = self.write("events.csv", as_text(events))
        top = sorted(y, key=lambda i: -abs(y[i]))[:3]
        answer = self.succeed("query", "--n", 1000, "--epsilon", "0.02", "--norm", "--top", 3, "--point", "3,4", "--point", 5,
                              "--save", self.path("q.weir"), "--seed", 6, "--json", file, ranks=2).json()
        self.assertEqual({item["index"] for item in answer["top"]}, set(top))
        for item in answer["top"] + answer["points"]:
            self.assertLessEqual(abs(item["value"] - y.get(item["index"], 0)), item["bound"])
        self.assertEqual([item["index"] for item in answer["points"]], [3, 4, 5])
        squared = sum(v * v for v in y.values())
        self.assertLessEqual(abs(answer["norm"] - squared ** 0.5), answer["norm_bound"])
        again = self.succeed("query", "--state", self.path("q.weir"), "--inner", self.path("q.weir"), "--top", 3, "--json").json()
        self.assertEqual(again["top"], answer["top"])
        self.assertLessEqual(abs(again["inner"][0]["value"] - squared), again["inner"][0]["bound"])
        self.assertIn("norm", self.succeed("query", "--state", self.path("q.weir")).out)

    def test_help_and_version_say_it_once_without_mpi(self):
        for arguments in (["--help"], ["--version"], ["-h"], ["sample", "--help"], ["query", "--help"], ["combine", "-h"]):
            alone = self.succeed(*arguments)
            self.assertTrue(alone.out)
            self.assertEqual(self.succeed(*arguments, ranks=4).out, alone.out)
        for option in ("--samples", "--failure", "--epsilon", "--without-replacement", "--sampler", "--p", "--randomness",
                       "--rows", "--buckets", "--lanes", "--threshold", "--levels", "--seed", "--labels", "--save", "--state",
                       "--json", "--progress", "--on-error", "--model", "--n", "--d", "--fixed"):
            self.assertIn(option + " ", self.succeed("sample", "--help").out)


class States(Case):
    N = 2000

    def sample(self, *arguments, **options):
        return self.succeed("sample", "--json", *arguments, **options).json()

    def test_a_saved_state_draws_the_same(self):
        events, _ = vector_events(5000, self.N, 7)
        file = self.write("events.csv", as_text(events))
        first = self.sample("--n", self.N, "--seed", 2, "--save", self.path("s.weir"), file, ranks=2)
        second = self.sample("--state", self.path("s.weir"))
        self.assertEqual(without_times(first), without_times(second))
        self.assertEqual(without_times(first), without_times(self.sample("--state", self.path("s.weir"), ranks=2)))

    def test_one_goes_on_where_another_stopped(self):
        events, _ = vector_events(6000, self.N, 8)
        files = [self.write("first.csv", as_text(events[:2500])), self.write("second.csv", as_text(events[2500:]))]
        whole = self.sample("--n", self.N, "--seed", 3, *files)
        self.sample("--n", self.N, "--seed", 3, "--save", self.path("alice.weir"), files[0], ranks=2)
        bob = self.sample("--state", self.path("alice.weir"), "--save", self.path("bob.weir"), files[1], ranks=3)
        self.assertEqual(without_times(whole), without_times(bob))
        self.assertEqual(without_times(whole), without_times(self.sample("--state", self.path("bob.weir"))))

    def test_difference_finds_what_changed(self):
        source = random.Random(9)
        before = [(i, source.randrange(1, 50)) for i in range(self.N)]
        changes = {17: 900, 400: -700, 1999: 800}
        after = before + list(changes.items())
        for name, events in (("before", before), ("after", after)):
            self.sample("--n", self.N, "--seed", 4, "--samples", 20, "--save", self.path(name + ".weir"),
                        self.write(name + ".csv", as_text(events)))
        self.succeed("combine", "-o", self.path("diff.weir"), "--add", self.path("after.weir"), "--subtract", self.path("before.weir"))
        answer = self.sample("--state", self.path("diff.weir"), "--samples", 20)
        self.assertTrue(answer["samples"])
        for sample in answer["samples"]:
            # The table of the difference holds the three changes alone, to the bit.
            self.assertEqual(sample["value"], changes[sample["index"]])
        top = self.succeed("query", "--state", self.path("diff.weir"), "--top", 5, "--json").json()["top"]
        self.assertEqual({item["index"]: item["value"] for item in top}, changes)

    def test_difference_with_itself_is_the_zero_vector(self):
        events, _ = vector_events(1000, self.N, 10)
        self.sample("--n", self.N, "--seed", 2, "--save", self.path("s.weir"), self.write("e.csv", as_text(events)))
        s = self.path("s.weir")
        self.succeed("combine", "-o", self.path("zero.weir"), "--add", s, "--add", s, "--scaled", "-2", s)
        self.assertEqual(self.weir("sample", "--state", self.path("zero.weir")).code, 3)
        self.assertTrue(self.succeed("inspect", self.path("zero.weir"), "--json").json()["zero"])

    def test_coefficients(self):
        for name, content in (("a", "1,2\n"), ("b", "1,10\n")):
            self.sample("--n", 10, "--seed", 1, "--save", self.path(name + ".weir"), self.write(name + ".csv", content))
        a, b = self.path("a.weir"), self.path("b.weir")
        self.succeed("combine", "-o", self.path("c.weir"), "--scaled", "0.5", b, "--subtract", a, "--scaled", "3", a)
        points = self.succeed("query", "--state", self.path("c.weir"), "--point", 1, "--json").json()["points"]
        self.assertEqual(points[0]["value"], 0.5 * 10 - 2 + 3 * 2)

    def test_states_of_another_kind_do_not_combine(self):
        file = self.write("e.csv", "1,2\n")
        base = {"--n": 100, "--seed": 1, "--buckets": 256, "--rows": 5, "--lanes": 16, "--p": 2, "--levels": 1, "--randomness": "mix"}
        field = {"--n": (101, "dimension"), "--seed": (2, "seed"), "--buckets": (512, "buckets"), "--rows": (3, "rows"),
                 "--lanes": (24, "lanes"), "--p": (1, "p"), "--levels": (2, "levels"), "--randomness": ("kwise", "randomness")}

        def save(name, options):
            flags = [str(part) for item in options.items() for part in item]
            self.sample(*flags, "--save", self.path(name), file)
        save("base.weir", base)
        for option, (value, name) in field.items():
            with self.subTest(option=option):
                save("other.weir", {**base, option: value})
                self.fail_with(1, "combine", "-o", self.path("c.weir"), "--add", self.path("base.weir"), "--add",
                               self.path("other.weir"), naming=name)
                self.assertFalse(os.path.exists(self.path("c.weir")))
                self.fail_with(1, "query", "--state", self.path("base.weir"), "--inner", self.path("other.weir"), naming=name)
                self.fail_with(2, "sample", "--state", self.path("base.weir"), option, value, naming=option)

    def test_inspect(self):
        file = self.write("e.csv", "1,2\n5,0.5\n")
        self.sample("--n", 100, "--seed", 77, "--save", self.path("s.weir"), file)
        state = self.succeed("inspect", self.path("s.weir"), "--json").json()
        self.assertEqual((state["kind"], state["n"], state["seed"], state["updates"], state["checksum"]), ("state", 100, 77, 2, "holds"))
        self.assertEqual(state["bytes"], os.path.getsize(self.path("s.weir")))
        events = self.succeed("inspect", file, "--json").json()
        self.assertEqual((events["kind"], events["format"], events["events"]), ("events", "text", 2))
        self.assertEqual(events["operands"], [{"operand": "y", "events": 2, "i": [1, 5], "whole_deltas": False}])
        self.succeed("convert", file, "-o", self.path("e.bin"))
        binary = self.succeed("inspect", self.path("e.bin"), "--json").json()
        self.assertEqual((binary["format"], binary["operands"]), ("binary", events["operands"]))
        self.assertIn("i from 1 to 5", self.succeed("inspect", file).out)
        matrix = b"%%MatrixMarket matrix coordinate real general\n3 2 2\n1 1 4\n3 2 1\n"
        for name, content in (("a.mtx", matrix), ("a.mtx.gz", gzip.compress(matrix))):
            operands = self.succeed("inspect", self.write(name, content), "--json").json()["operands"]
            self.assertEqual(operands, [{"operand": "A", "events": 2, "i": [0, 2], "j": [0, 1], "whole_deltas": True}])

    def test_combinations_out_of_range(self):
        for name, content, coefficient, problem in (("large", "1,1e100\n", "1e100", "too large"), ("small", "1,1\n", "1e-200", "too small")):
            self.sample("--n", 10, "--seed", 1, "--save", self.path("s.weir"), self.write(name, content))
            self.fail_with(1, "combine", "-o", self.path("c.weir"), "--scaled", coefficient, self.path("s.weir"), naming=("--scaled", problem))
            self.assertFalse(os.path.exists(self.path("c.weir")))

    def test_states_of_version_1_are_refused(self):
        self.sample("--n", 10, "--seed", 1, "--save", self.path("new.weir"), self.write("e.csv", "1,2\n"))
        old = bytearray(self.read("new.weir"))
        self.assertEqual(old[8], 3)
        old[8] = 1
        old = self.write("old.weir", bytes(old))
        new = self.path("new.weir")
        for command in (["inspect", old], ["sample", "--state", old], ["query", "--state", new, "--inner", old],
                        ["combine", "-o", self.path("sum.weir"), "--add", new, "--add", old]):
            self.fail_with(1, *command, naming=["old.weir: state format version 1", "another construction of the random scales", "from its stream"])
        self.fail_with(1, "sample", "--state", old, "e.csv", ranks=2, naming="old.weir")

    def test_damaged_states(self):
        file = self.write("e.csv", "1,2\n")
        self.sample("--n", 10, "--buckets", 2, "--rows", 1, "--lanes", 2, "--threshold", 0, "--seed", 1, "--save", self.path("s.weir"), file)
        whole = self.read("s.weir")
        for position in range(0, len(whole), 7):
            damaged = bytearray(whole)
            damaged[position] ^= 16
            self.fail_with(1, "inspect", self.write("d.weir", bytes(damaged)), naming="d.weir")
        self.fail_with(1, "sample", "--state", self.path("d.weir"), naming="d.weir")
        for length in range(0, len(whole), 11):
            self.fail_with(1, "inspect", self.write("d.weir", whole[:length] or b"\x89WEIR"), naming="d.weir")


class BadInput(Case):
    def test_malformed_lines(self):
        for line in ("1", "1,2,3", "a,2", "1,b", "1,nan", "1,inf", "1,1e999", "-1,2", "100,2", "99999999999999999999,1", "q,1,2",
                     "A,1,1,1", "1,", ",1"):
            file = self.write("bad.csv", "0,1\n# comment\n\n" + line + "\n2,1\n")
            with self.subTest(line=line):
                self.fail_with(1, "sample", "--n", 100, file, naming="bad.csv:4")
                skipped = self.succeed("sample", "--n", 100, "--on-error", "skip", "--json", file).json()
                self.assertEqual((skipped["updates"], skipped["skipped"]), (2, 1))

    def test_malformed_products(self):
        x = "x=" + self.write("x.txt", "1\n2\n")
        for line in ("A,1,1", "A,1,2,1", "A,100,0,1", "1,1", "x,0,1", "A,1,1,1,1"):
            with self.subTest(line=line):
                file = self.write("bad.csv", "A,0,1,1\n" + line + "\n")
                self.fail_with(1, "sample", "--model", "product", "--n", 100, "--fixed", x, file, naming="bad.csv:2")

    def test_overflow(self):
        x = "x=" + self.write("x.txt", "1e200\n")
        product = self.write("a.csv", "A,3,0,1e200\n")
        self.fail_with(1, "sample", "--model", "product", "--n", 10, "--fixed", x, product, naming="A,3,0,1e+200")
        large = self.write("y.csv", "3,1e200\n")
        for extra in ([], ["--sampler", "exact"]):
            self.fail_with(1, "sample", "--n", 10, large, *extra, naming="too large")
            self.fail_with(1, "sample", "--n", 10, self.write("small.csv", "3,1e-200\n"), *extra, naming="too small")

    def test_operands(self):
        file = self.write("a.csv", "A,0,0,1\n")

        def run(name, content, *extra, naming):
            self.fail_with(1, "sample", "--model", "product", "--n", 10, "--fixed", "x=" + self.write(name, content), file, *extra,
                           naming=naming)
        run("x.txt", "1\nnan\n", naming="x.txt")
        run("x.txt", "1\n2\n", "--d", 3, naming="--d is 3")
        run("x.mtx", "%%MatrixMarket matrix array real general\n2 2\n1\n2\n3\n4\n", naming="vector")
        self.fail_with(1, "sample", "--model", "product", "--n", 10, "--fixed", "x=" + self.path("none.npy"), file, naming="none.npy")

    def test_missing_damaged_and_foreign_files(self):
        text = self.write("e.csv", as_text(vector_events(3000, 100, 11)[0]))
        packed = gzip.compress(self.read("e.csv"))
        self.succeed("convert", text, "-o", self.path("e.bin"))
        binary = self.read("e.bin")
        flipped = bytearray(binary)
        flipped[len(flipped) // 2] ^= 1
        cases = {"empty.csv": b"", "cut.gz": packed[:len(packed) // 2], "cut.bin": binary[:-1], "flip.bin": bytes(flipped)}
        for name, content in cases.items():
            with self.subTest(name=name):
                self.fail_with(1, "sample", "--n", 100, self.write(name, content), naming=name)
        self.fail_with(1, "sample", "--n", 100, self.path("missing.csv"), naming="missing.csv")
        self.fail_with(1, "sample", "--n", 100, self.folder, naming=self.folder)
        self.fail_with(1, "sample", "--state", text, naming="e.csv")
        self.fail_with(1, "inspect", self.path("missing.weir"), naming="missing.weir")
        self.fail_with(1, "sample", "--n", 100, "--labels", self.path("missing.txt"), text, naming="missing.txt")
        self.fail_with(1, "sample", "--n", 100, "--save", self.path("no/folder.weir"), text, naming="folder.weir")

    def test_standard_input(self):
        self.fail_with(1, "sample", "--n", 10, "-", naming="standard input")
        self.fail_with(1, "sample", "--n", 10, "-", stdin=b"1,1\n2\n", naming="standard input:2")
        self.fail_with(1, "sample", "--n", 10, "-", ranks=3, stdin=b"1,1\n2\n", naming="standard input:2")

    def test_what_cannot_be_answered_is_found_before_the_stream_is_read(self):
        broken = self.write("broken.csv", "what\n")
        self.succeed("query", "--n", 100, "--seed", 1, "--save", self.path("s.weir"), self.write("e.csv", "1,1\n"))
        for command in ("sample", "query"):
            for ranks in (None, 2):
                self.fail_with(1, command, "--n", 100, "--labels", self.path("missing.txt"), broken, ranks=ranks, naming="missing.txt")
                self.fail_with(1, command, "--n", 100, "--save", self.path("no/folder.weir"), broken, ranks=ranks, naming="folder.weir")
        self.fail_with(1, "query", "--n", 100, "--inner", self.path("missing.weir"), broken, naming="missing.weir")
        self.fail_with(1, "query", "--n", 100, "--seed", 2, "--inner", self.path("s.weir"), broken, ranks=2, naming=("s.weir", "seed"))
        self.fail_with(2, "query", "--n", 100, "--top", 1024, broken, naming="--top")
        self.assertEqual(sorted(os.listdir(self.folder)), ["broken.csv", "e.csv", "s.weir"])

    def test_full_standard_output(self):
        file = self.write("e.csv", "1,1\n")
        for arguments in (["--help"], ["--version"], ["sample", "--help"], ["inspect", file], ["inspect", "--json", file],
                          ["sample", "--n", "10", file], ["query", "--n", "10", "--json", file], ["convert", file, "-o", "-"]):
            with self.subTest(arguments=arguments), open("/dev/full", "w") as full:
                completed = subprocess.run([PROGRAM] + arguments, env=ALONE, stdout=full, stderr=subprocess.PIPE, timeout=TIMEOUT)
                self.assertEqual(completed.returncode, 1)
                self.assertIn(b"No space left", completed.stderr)

    def test_table_that_no_machine_holds(self):
        file = self.write("e.csv", "1,1\n")
        self.fail_with(1, "sample", "--n", 10, "--buckets", 2 ** 32, "--lanes", 2048, file, naming="memory")


class BadUsage(Case):
    def test_impossible_options(self):
        file = self.write("e.csv", "1,1\n")
        for option, value in (("--samples", 0), ("--samples", -1), ("--samples", "many"), ("--samples", 10 ** 30),
                              ("--samples", 100000), ("--failure", 0), ("--failure", 1), ("--failure", "nan"), ("--epsilon", 0),
                              ("--epsilon", "1.5"), ("--epsilon", -0.1), ("--p", 3), ("--p", "two"), ("--seed", "abc"),
                              ("--seed", 2 ** 64), ("--seed", "0xg"), ("--levels", 4), ("--levels", 0), ("--buckets", 100),
                              ("--buckets", 1), ("--rows", 4), ("--rows", 0), ("--lanes", 3), ("--lanes", 1), ("--lanes", 5000),
                              ("--threshold", -1), ("--threshold", "inf"), ("--progress", 0), ("--on-error", "ignore"),
                              ("--model", "other"), ("--randomness", "rand"), ("--fixed", "x"), ("--d", 3)):
            with self.subTest(option=option, value=value):
                outcome = self.fail_with(2, "sample", "--n", 100, "%s=%s" % (option, value), file)
                self.assertIn("--help", outcome.err)

    def test_unknown_sampler_lists_the_known(self):
        self.fail_with(2, "sample", "--n", 10, "--sampler", "best", "e.csv", naming="'best' given, expected exact or perfect")

    def test_command_lines_that_make_no_sense(self):
        file = self.write("e.csv", "1,1\n")
        for arguments in ([], ["frobnicate"], ["sample"], ["sample", "--sampler", "exact", file],
                          ["sample", "--exact-check", file], ["sample", "--n", 0, file], ["sample", "--n", 2 ** 63 + 1, file],
                          ["sample", "--n", 10, "--bogus", file], ["sample", "--n"], ["sample", "--n", 10, "--n", 11, file],
                          ["sample", "--n", 10, "-", "-"], ["sample", "--model", "product", "--n", 10, file],
                          ["sample", "--n", 10, "--fixed", "x=" + file, file],
                          ["sample", "--n", 2 ** 40, "--sampler", "exact", file],
                          ["sample", "--n", 10, "--sampler", "exact", "--save", "s.weir", file],
                          ["sample", "--state", "s.weir", "--sampler", "exact"], ["sample", "--state", ""],
                          ["sample", "--save", "", file], ["query", "--state", "s.weir", "--fixed", "x"],
                          ["sample", "--levels", 1, file], ["query", "--n", 2 ** 41, "--levels", 1, file], ["query"], ["query", "--n", 10, "--point", 10, file],
                          ["query", "--n", 10, "--point", "1,,2", file], ["combine", "-o", "x.weir"], ["combine", "--add", file],
                          ["combine", "-o", "x.weir", "--scaled", "much", file], ["inspect"]):
            with self.subTest(arguments=arguments):
                self.fail_with(2, *arguments)

    def test_one_message_from_many_ranks(self):
        self.fail_with(2, "sample", "--bogus", ranks=4)
        self.fail_with(2, "sample", "--n", 10, "-", "-", ranks=3)


class Failures(Case):
    """A rank that fails ends the job with its message while the others are busy or wait."""

    def test_bad_line_in_the_last_slice(self):
        lines = "1,1\n" * 400000 + "broken\n"
        file = self.write("long.csv", lines)
        for ranks in (2, 4):
            outcome = self.fail_with(1, "sample", "--n", 10, file, ranks=ranks, naming=("long.csv:400001", "rank %d" % (ranks - 1)))
            self.assertEqual(outcome.out, "")

    def test_failure_while_standard_input_is_silent(self):
        # Of the product model the overflow is found by whichever rank gets the batch; the writer stays silent but does not close.
        x = "x=" + self.write("x.txt", "1e200\n")
        for ranks in (None, 3):
            launcher = MPIEXEC + [str(ranks)] if ranks else []
            process = subprocess.Popen(launcher + [PROGRAM, "sample", "--model", "product", "--n", "10", "--fixed", x, "-"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                process.stdin.write(b"A,3,0,1e200\n" * 64)
                process.stdin.flush()
                process.wait(timeout=TIMEOUT)
            finally:
                process.kill()
                process.stdin.close()
                error = process.stderr.read().decode()
                process.stderr.close()
                process.stdout.close()
            self.assertEqual(process.returncode, 1, error)
            self.assertIn("A,3,0,1e+200", error)

    def test_pipe_that_stays_silent(self):
        cut = self.write("cut.csv.gz", gzip.compress(b"1,1\n" * 5000)[:-9])
        os.mkfifo(self.path("pipe"))
        writer = os.open(self.path("pipe"), os.O_RDWR)  # Holds the pipe open and writes nothing.
        self.addCleanup(os.close, writer)
        for streams in ([self.path("pipe"), cut], [cut, self.path("pipe")]):
            self.fail_with(1, "sample", "--n", 10, *streams, ranks=2, naming="cut.csv.gz")
        os.write(writer, b"1,1\n" * 64 + b"broken\n")
        self.fail_with(1, "sample", "--n", 10, self.path("pipe"), ranks=3, naming="pipe:65")

    def test_codes_under_a_launcher(self):
        zero = self.write("zero.csv", "1,1\n1,-1\n")
        self.assertEqual(self.weir("sample", "--n", 10, zero, ranks=4).code, 3)
        self.fail_with(1, "sample", "--n", 10, self.path("missing.csv"), ranks=4, naming="missing.csv")
        self.fail_with(2, "sample", "--n", 10, "--samples", 0, zero, ranks=4)


if __name__ == "__main__":
    unittest.main()
