"""Tables, logs and JSON with keys that are text, and how their names come back. harness.py says what this needs."""

import csv
import io
import json
import random
import unittest

from harness import Case, without_times


def flows(seed, count=4000, hosts=300):
    """Flows between addresses, a few of which send most; and the bytes of each source."""
    source = random.Random(seed)
    lines, sent = [], {}
    for k in range(count):
        host = min(int(source.paretovariate(0.7)), hosts)
        src = "10.0.%d.%d" % (host // 256, host % 256) if host % 5 else "2001:db8::%x" % host
        size = source.randrange(40, 1500)
        lines.append((src, "192.168.0.%d" % source.randrange(20), size))
        sent[src] = sent.get(src, 0) + size
    return lines, sent


def as_csv(lines, header="src,dst,bytes\n"):
    return header + "".join("%s,%s,%d\n" % line for line in lines)


class Keys(Case):
    def test_draws_have_names_and_the_right_values(self):
        lines, sent = flows(1)
        file = self.write("flows.csv", as_csv(lines))
        arguments = ["sample", "--key", "src", "--delta", "bytes", "--samples", 20, "--seed", 5, "--json", file]
        answer = self.succeed(*arguments).json()
        self.assertEqual(answer["n"], 2**63)
        self.assertEqual(answer["updates"], len(lines))
        self.assertGreaterEqual(len(answer["samples"]), 15)
        for sample in answer["samples"]:
            self.assertIn(sample["label"], sent)
            self.assertLessEqual(abs(sample["value"] - sent[sample["label"]]), 2 * sample["value_bound"] + 1e-6)
        # The norm is that of the sums by name.
        norm = sum(value * value for value in sent.values()) ** 0.5
        self.assertLess(abs(answer["norm"] - norm), 2 * answer["norm_bound"])
        # The same on any number of ranks, names included; and with the second pass the values are exact.
        for ranks in (2, 3):
            self.assertEqual(without_times(self.succeed(*arguments, ranks=ranks).json()), without_times(answer))
        exact = self.succeed(*arguments, "--second-pass", ranks=2).json()
        for sample in exact["samples"]:
            self.assertEqual(sample["value"], sent[sample["label"]])

    def test_second_pass_finds_names_that_the_table_lacks(self):
        # All keys weigh the same: a table of 10 names cannot have those that are drawn.
        file = self.write("flat.csv", "".join("user-%d\n" % (k % 200) for k in range(400)))
        arguments = ["sample", "--key", "1", "--samples", 10, "--seed", 2, "--names", 10, "--json", file]
        bare = self.succeed(*arguments).json()["samples"]
        self.assertTrue(any("label" not in sample or sample["label"] is None for sample in bare))
        state = self.path("s.weir")
        self.succeed(*arguments, "--save", state, ranks=2)
        self.assertEqual(self.succeed("inspect", "--json", state).json()["names"], 10)
        for ranks in (None, 3):
            for sample in self.succeed(*arguments, "--second-pass", ranks=ranks).json()["samples"]:
                self.assertRegex(sample["label"], r"^user-\d+$")
                self.assertEqual(sample["value"], 2)

    def test_names_are_saved_and_come_back(self):
        lines, sent = flows(2)
        monday = self.write("monday.csv", as_csv(lines[:2000]))
        tuesday = self.write("tuesday.csv", as_csv(lines[2000:]))
        common = ["--key", "src", "--delta", "bytes"]
        state = self.path("s.weir")
        self.succeed("sample", *common, "--seed", 3, "--save", state, monday, ranks=2)
        both = self.path("both.weir")
        self.succeed("sample", *common, "--state", state, "--save", both, tuesday)
        heaviest = sorted(sent, key=sent.get, reverse=True)[:5]
        top = self.succeed("query", "--state", both, "--top", 5, "--json").json()["top"]
        self.assertEqual([entry["label"] for entry in top], heaviest)
        # Combined states have the names of both.
        other = self.path("other.weir")
        self.succeed("sample", *common, "--like", state, "--save", other, tuesday)
        total = self.path("sum.weir")
        self.succeed("combine", "-o", total, "--add", state, "--add", other)
        again = self.succeed("query", "--state", total, "--top", 5, "--json").json()["top"]
        self.assertEqual([entry["label"] for entry in again], heaviest)
        drift = self.path("drift.weir")
        self.succeed("combine", "-o", drift, "--add", other, "--subtract", state)
        for sample in self.succeed("sample", "--state", drift, "--json").json()["samples"]:
            self.assertIn(sample["label"], sent)
        # Points are asked for by name.
        points = self.succeed("query", "--state", both, "--point", "%s,%s" % (heaviest[0], heaviest[1]), "--json").json()["points"]
        for name, point in zip(heaviest, points):
            self.assertEqual(point["label"], name)
            self.assertLessEqual(abs(point["value"] - sent[name]), 2 * point["bound"] + 1e-6)
        # What could be an index is a key in quotes, and where the stream has keys.
        zeros = self.write("zeros.csv", "007,1\n1e6,2\n12:30,4\n")
        for points in ("007,1e6,12:30", '"007","1e6","12:30"'):
            answer = self.succeed("query", "--key", "1", "--delta", "2", "--point", points, "--json", zeros).json()["points"]
            self.assertEqual([round(point["value"]) for point in answer], [1, 2, 4])
        table = list(csv.DictReader(io.StringIO(self.succeed("query", "--state", both, "--top", 3, "--format", "csv").out)))
        self.assertEqual([row["label"] for row in table], heaviest[:3])
        self.assertIn(heaviest[0], self.succeed("query", "--state", both, "--top", 3).out)

    def test_states_tell_how_many_names_they_have(self):
        state = self.path("s.weir")
        self.succeed("sample", "--key", "1", "--save", state, self.write("k.csv", "a\nb\na\n7\n"))
        self.assertEqual(self.succeed("inspect", "--json", state).json()["names"], 2)
        # Whether lines are read with keys is part of where a job stands.
        arguments = ["sample", "--every", 10, "--checkpoint", self.path("c"), "--resume", "--seed", 1, self.path("k.csv")]
        self.succeed(*arguments, "--key", "1")
        self.fail_with(1, *arguments, "--key", "1", "--delta", "2.5", naming=("with --key 1 and now", "--key 1 --delta 2.5"))

    def test_damaged_names_are_refused(self):
        file = self.write("k.csv", "a\nb\na\n")
        state = self.path("s.weir")
        self.succeed("sample", "--key", "1", "--save", state, file)
        good = self.read("s.weir")
        bad = self.write("bad.weir", good[:-1] + bytes([good[-1] ^ 1]))
        self.fail_with(1, "query", "--state", bad, "--norm", naming="damaged")
        self.fail_with(1, "query", "--state", self.write("short.weir", good[:-3]), "--norm", naming="truncated")

    def test_two_columns_are_one_key(self):
        lines, _ = flows(3, count=1500, hosts=40)
        pairs = {}
        for src, dst, size in lines:
            pairs["%s,%s" % (src, dst)] = pairs.get("%s,%s" % (src, dst), 0) + size
        file = self.write("flows.tsv", as_csv(lines).replace(",", "\t"))
        answer = self.succeed("sample", "--key", "src,dst", "--delta", "bytes", "--second-pass", "--seed", 4,
                              "--json", file, ranks=2).json()
        self.assertGreater(len(answer["samples"]), 3)
        for sample in answer["samples"]:
            self.assertEqual(sample["value"], pairs[sample["label"]])
        best = max(pairs, key=pairs.get)
        point = self.succeed("query", "--key", "1,2", "--delta", "3", "--point", '"%s"' % best, "--seed", 4,
                             "--json", file).json()["points"][0]
        self.assertLessEqual(abs(point["value"] - pairs[best]), 2 * point["bound"] + 1e-6)

    def test_deletions_and_signs_cancel(self):
        text = "".join("%s,k%d\n" % (sign, k) for sign in "+-" for k in range(500)) + "+,left\n"
        file = self.write("ops.csv", text)
        answer = self.succeed("sample", "--key", "2", "--sign", "1", "--json", file, ranks=3).json()
        self.assertEqual({sample["label"] for sample in answer["samples"]}, {"left"})
        self.assertAlmostEqual(answer["norm"], 1)

    def test_json_lines_and_what_is_compressed(self):
        import gzip
        lines, sent = flows(4, count=1000)
        text = "".join(json.dumps({"flow": {"src": src, "n": size}, "dst": dst}) + "\n" for src, dst, size in lines)
        file = self.write("flows.jsonl", text)
        zipped = self.write("flows.jsonl.gz", gzip.compress(text.encode()))
        arguments = ["sample", "--key", "flow.src", "--delta", "flow.n", "--seed", 6, "--second-pass", "--json"]
        plain = self.succeed(*arguments, file, ranks=2).json()
        for sample in plain["samples"]:
            self.assertEqual(sample["value"], sent[sample["label"]])
        self.assertEqual(without_times(self.succeed(*arguments, zipped).json()), without_times(plain))

    def test_numbers_stay_themselves(self):
        file = self.write("ids.csv", "id,n\n" + "".join("%d,%d\n" % (k, k + 1) for k in range(100)))
        answer = self.succeed("sample", "--n", 100, "--key", "id", "--delta", "n", "--sampler", "exact", "--json", file).json()
        for sample in answer["samples"]:
            self.assertEqual(sample["value"], sample["index"] + 1)
        self.fail_with(1, "sample", "--n", 99, "--key", "id", file, naming=("ids.csv:101", "i = 99 is too large"))
        self.fail_with(1, "sample", "--n", 100, "--key", "id", self.write("t.csv", "id\nann\n"), ranks=2,
                       naming=("t.csv:2", "'ann' is no whole number", "below 100"))

    def test_epochs_windows_and_both_ways_to_merge(self):
        lines, sent = flows(5)
        file = self.write("flows.csv", as_csv(lines))
        arguments = ["query", "--key", "src", "--delta", "bytes", "--top", 3, "--seed", 1, "--json", "--every", 2000]
        heaviest = sorted(sent, key=sent.get, reverse=True)[:3]
        for more in ([], ["--window", 10], ["--window", 10, "--tumbling"], ["--merge", "distributed"],
                     ["--merge", "distributed", "--window", 10]):
            for ranks in (None, 3):
                answers = [json.loads(line) for line in self.succeed(*arguments, *more, file, ranks=ranks).out.splitlines()]
                last = [answer for answer in answers if answer["final"]][0]
                self.assertEqual([entry["label"] for entry in last["top"]], heaviest, (more, ranks))

    def test_checkpoints_keep_names(self):
        lines, sent = flows(6)
        first = self.write("a.csv", as_csv(lines))
        directory = self.path("checkpoints")
        arguments = ["query", "--key", "src", "--delta", "bytes", "--top", 3, "--seed", 1, "--json", "--every", 1500,
                     "--checkpoint", directory, "--resume"]
        whole = self.succeed(*arguments, first, ranks=2).out.splitlines()[-1]
        # Nothing is left to read, so that names come from the checkpoint.
        again = self.succeed(*arguments, first, ranks=3).out.splitlines()[-1]
        self.assertEqual([entry["label"] for entry in json.loads(again)["top"]],
                         [entry["label"] for entry in json.loads(whole)["top"]])

    def test_standard_input(self):
        lines, sent = flows(7, count=800)
        answer = self.succeed("query", "--key", "src", "--delta", "bytes", "--top", 1, "--json", "-", stdin=as_csv(lines).encode(), ranks=2)
        self.assertEqual(answer.json()["top"][0]["label"], max(sent, key=sent.get))

    def test_what_is_wrong_is_said(self):
        file = self.write("k.csv", "src,n\na,1\n")
        self.fail_with(1, "sample", "--key", "from", file, naming=("k.csv:1", "no column is called 'from'", "'src', 'n'"))
        self.fail_with(1, "sample", "--key", "from", file, ranks=3, naming="no column is called 'from'")
        self.fail_with(2, "sample", "--model", "rows", "--d", 4, "--key", "src", file, naming="two columns")
        self.fail_with(2, "sample", "--delta", "n", file, naming="--key")
        self.fail_with(2, "sample", "--key", "src", "--edges", "out", file, naming="--edges")
        self.fail_with(2, "sample", "--key", "src,", file, naming="an empty column")
        self.fail_with(2, "sample", "--key", "src", "--separator", "ab", file, naming="--separator")
        self.fail_with(2, "sample", "--key", "src", "--header", "maybe", file, naming="--header")
        self.fail_with(2, "query", "--n", 10, "--point", "ann", file, naming="--point")
        self.fail_with(2, "query", "--n", 10, "--key", "src", "--point", "ann", file, naming=("--point", "'ann'", "10 entries"))


if __name__ == "__main__":
    unittest.main()
