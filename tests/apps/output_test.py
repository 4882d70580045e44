"""How results are printed: formats, files, numbers on the command line, and what weir says of itself: help, manual, completion.
"""

import csv
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
import unittest

from harness import ALONE, MPIEXEC, PROGRAM, TIMEOUT, Case, as_npy, as_text, vector_events

HOSTILE = ['plain', 'a,b', 'say "hi"', "semi;colon", " blank ", "caf\u00e9"]


def rows_of(text):
    """The records of a CSV text, each with its columns."""
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert all(len(row) == len(rows[0]) for row in rows), rows
    return [dict(zip(rows[0], row)) for row in rows[1:]]


def columns_of(text):
    return next(csv.reader(io.StringIO(text, newline="")))


class Formats(Case):
    N = 6

    def setUp(self):
        super().setUp()
        self.file = self.write("events.csv", "0,3\n1,-4\n2,5\n3,1\n4,2\n5,2\n")
        self.labels = self.write("labels.txt", "".join(label + "\n" for label in HOSTILE))

    def query(self, *arguments, **options):
        return self.succeed("query", "--n", self.N, "--seed", 3, *arguments, self.file, **options)

    def sample(self, *arguments, **options):
        return self.succeed("sample", "--n", self.N, "--seed", 3, *arguments, self.file, **options)

    def test_the_formats_hold_the_same(self):
        options = ["--norm", "--top", 6, "--point", "1,3", "--moment", "1", "--labels", self.labels]
        answer = self.query(*options, "--json").json()
        line = self.query(*options, "--format", "ndjson").out
        self.assertEqual(line.count("\n"), 1)
        without = lambda report: {key: value for key, value in report.items() if key != "seconds"}
        self.assertEqual(without(json.loads(line)), without(answer))
        self.assertEqual(without(self.query(*options, "--format", "json").json()), without(answer))
        self.assertIn("largest entries", self.query(*options, "--format", "table").out)
        text = self.query(*options, "--format", "csv").out
        self.assertEqual(columns_of(text), ["question", "index", "label", "p", "state", "value", "bound"])
        rows = rows_of(text)
        self.assertEqual([row["question"] for row in rows], ["norm"] + 6 * ["top"] + 2 * ["point"] + ["moment"])
        self.assertEqual(float(rows[0]["value"]), answer["norm"])
        for row, entry in zip(rows[1:7], answer["top"]):
            self.assertEqual((int(row["index"]), row["label"], float(row["value"]), float(row["bound"])),
                             (entry["index"], HOSTILE[entry["index"]], entry["value"], entry["bound"]))
        self.assertEqual(sorted(row["label"] for row in rows[1:7]), sorted(HOSTILE))
        self.assertEqual((float(rows[9]["p"]), float(rows[9]["value"])), (1, answer["moments"][0]["value"]))

    def test_samples_are_records(self):
        columns = ["lane", "index", "label", "value", "value_bound", "probability", "probability_bound", "inclusion",
                   "exact_value", "exact_probability", "row"]
        for options in (["--exact-check"], ["--without-replacement", "--samples", 3], ["--labels", self.labels]):
            with self.subTest(options=options):
                answer = self.sample(*options, "--json").json()
                text = self.sample(*options, "--format", "csv").out
                self.assertEqual(columns_of(text), columns)
                rows = rows_of(text)
                self.assertEqual(len(rows), len(answer["samples"]))
                for row, item in zip(rows, answer["samples"]):
                    self.assertEqual(int(row["index"]), item["index"])
                    self.assertEqual(float(row["probability"]), item["probability"])
                    self.assertEqual(row["label"], item.get("label", ""))
                    self.assertEqual(row["inclusion"] and float(row["inclusion"]), item.get("inclusion", ""))
                    self.assertEqual(row["exact_value"] and float(row["exact_value"]), item.get("exact", {}).get("value", ""))
                    self.assertEqual(row["row"], "")

    def test_pairs_and_rows_are_records(self):
        keys = self.write("keys.csv", "A2,0,*,1,0\nA2,1,*,2,-1\nA2,2,*,0,3\n")
        queries = self.write("queries.csv", "A1,0,*,3,1\nA1,1,*,-2,2\n")
        names = self.write("names.txt", "one\ntwo, too\nthree\n")
        command = ["sample", "--model", "kronecker", "--n1", 2, "--n2", 3, "--d1", 2, "--d2", 2, "--seed", 1, "--method", "exact",
                   "--labels", names, queries, keys]
        answer = self.succeed(*command, "--json").json()
        rows = rows_of(self.succeed(*command, "--format", "csv").out)
        self.assertEqual([[int(row["i1"]), int(row["i2"])] for row in rows], [item["index"] for item in answer["samples"]])
        self.assertEqual([[row["label1"], row["label2"]] for row in rows], [item["label"] for item in answer["samples"]])
        rows = self.write("rows.csv", "A,0,*,1,0\nA,1,*,1,0.5\nA,2,*,0,5\n")
        command = ["sample", "--model", "rows", "--n", 3, "--d", 2, "--seed", 1, rows]
        answer = self.succeed(*command, "--json").json()
        for row, item in zip(rows_of(self.succeed(*command, "--format", "csv").out), answer["samples"]):
            self.assertEqual([float(entry) for entry in row["row"].split(" ")], item["row"])

    def test_nothing_drawn_is_a_header_and_a_reason(self):
        zero = self.write("zero.csv", "1,1\n1,-1\n")
        outcome = self.weir("sample", "--n", 5, "--format", "csv", zero)
        self.assertEqual((outcome.code, outcome.out.count("\n")), (3, 1))
        self.assertIn("zero vector", outcome.err)

    def test_other_commands_have_the_formats(self):
        self.sample("--save", self.path("s.weir"))
        for command, fields in ((["inspect", self.path("s.weir")], {"kind": "state", "n": "6", "seed": "3", "zero": "false"}),
                                (["inspect", self.file], {"events": "6", "operands.0.i.1": "5", "operands.0.operand": "y"})):
            answer = self.succeed(*command, "--json").json()
            self.assertEqual(json.loads(self.succeed(*command, "--format", "ndjson").out), answer)
            rows = rows_of(self.succeed(*command, "--format", "csv").out)
            self.assertEqual(len(rows), 1)
            for name, value in fields.items():
                self.assertEqual(rows[0][name], value)
        rows = rows_of(self.succeed("protocol", "index", "--n", 8, "--trials", 4, "--format", "csv", ranks=2).out)
        self.assertEqual((rows[0]["protocol"], rows[0]["trials"], rows[0]["chance"]), ("index", "4", "0.5"))
        arrays = [self.write(name + ".npy", as_npy([[0.1 * i, 0.2] for i in range(8)])) for name in "qkv"]
        attend = ["attend", "--q", arrays[0], "--k", arrays[1], "--v", arrays[2], "--mode", "exact"]
        self.assertEqual(self.succeed(*attend, "--format", "csv", "--report", self.path("r.csv"), "-o", self.path("t.npy")).out, "")
        rows = rows_of(self.read("r.csv").decode())
        self.assertEqual((rows[0]["mode"], rows[0]["n"]), ("exact", "8"))
        self.assertIn("seconds.query", rows[0])
        self.assertTrue(self.read("t.npy").startswith(b"\x93NUMPY"))

    def test_a_file_appears_when_it_is_complete(self):
        for form in ("table", "json", "ndjson", "csv"):
            with self.subTest(form=form):
                expected = self.query("--format", form, "--norm").out
                outcome = self.query("--format", form, "--norm", "-o", self.path("out"))
                self.assertEqual(outcome.out, "")
                written = self.read("out").decode()
                strip = lambda text: re.sub(r"(?m)^time .*$|\"seconds\": ?\{[^}]*\}", "", text)
                self.assertEqual(strip(written), strip(expected))
        self.assertEqual(sorted(os.listdir(self.folder)), ["events.csv", "labels.txt", "out"])
        self.assertIn("norm", self.query("-o", "-").out)
        # A failed run leaves what was there.
        bad = self.write("bad.csv", "1,1\nbroken\n")
        self.fail_with(1, "query", "--n", 6, "-o", self.path("out"), bad, naming="bad.csv:2")
        self.assertEqual(self.read("out").decode(), written)

    def test_places_that_cannot_be_written_to(self):
        broken = self.write("broken.csv", "broken\n")  # would be the error if it were read
        os.mkdir(self.path("folder"))
        for command in (["query", "--n", 6], ["sample", "--n", 6, "--every", 2]):
            self.fail_with(1, *command, "-o", self.path("folder"), broken, naming=("folder", "directory"))
            self.fail_with(1, *command, "-o", self.path("none/out"), broken, naming="none/out")
        self.fail_with(1, "query", "--n", 6, "-o", self.path("folder"), broken, ranks=2, naming="directory")
        self.fail_with(1, "inspect", "-o", self.path("folder"), broken, naming="directory")
        self.fail_with(1, "query", "--n", 6, "-o", "/dev/full", self.file, naming=("/dev/full", "No space left"))
        self.fail_with(1, "query", "--n", 6, "--every", 2, "-o", "/dev/full", self.file, naming="No space left")
        self.fail_with(2, "query", "--n", 6, "-o", self.file, self.file, naming=("events.csv", "is read"))
        self.fail_with(2, "sample", "--n", 6, "-o", self.path("x"), "--save", self.path("x"), self.file, naming="written twice")
        self.fail_with(2, "sample", "--n", 6, "--format", "xml", self.file, naming=("xml", "csv"))
        self.fail_with(2, "sample", "--n", 6, "--json", "--format", "csv", self.file, naming="--format")
        self.assertEqual(self.read("events.csv").count(b"\n"), 6)

    def test_epochs_have_one_header(self):
        text = self.sample("--every", 2, "--format", "csv").out
        columns = columns_of(text)
        self.assertEqual(columns[:6], ["epoch", "time", "updates", "final", "lane", "index"])
        rows = rows_of(text)
        self.assertEqual(sorted({(row["epoch"], row["updates"]) for row in rows}), [("1", "2"), ("2", "4"), ("3", "6")])
        self.assertEqual({row["final"] for row in rows if row["epoch"] == "3"}, {"true"})
        lines = self.query("--every", 2).out.splitlines()
        self.assertEqual([json.loads(line)["epoch"] for line in lines], [1, 2, 3])
        self.assertEqual([json.loads(line)["epoch"] for line in self.query("--every", 2, "--json").out.splitlines()], [1, 2, 3])
        self.assertEqual(self.query("--every", 2, "--format", "table").out.count("\nnorm "), 3)
        self.query("--every", 2, "--format", "csv", "-o", self.path("out"), ranks=2)
        self.assertEqual([row["epoch"] for row in rows_of(self.read("out").decode())], ["1", "2", "3"])

    def test_a_file_of_epochs_grows_and_is_gone_on_with(self):
        with open(self.path("grown.csv"), "w") as stream:
            stream.write("0,1\n1,1\n")
        command = [PROGRAM, "query", "--n", "6", "--seed", "1", "--every", "2", "--format", "csv", "-o", self.path("out"), "--checkpoint",
                   self.path("state"), "--follow", self.path("grown.csv")]
        self.write("out", "of another day\n")
        # TERM ends an epoch early; the job that goes on answers at its end.
        for resume, epochs in (([], ["1", "2"]), (["--resume"], ["1", "2", "2", "3"])):
            process = subprocess.Popen(command + resume, env=ALONE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                deadline = time.monotonic() + TIMEOUT
                while len(self.epochs()) < len(epochs) - 1:
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                out, err = process.communicate(timeout=TIMEOUT)
            finally:
                process.kill()
            self.assertEqual((process.returncode, out), (0, b""), err)
            self.assertEqual(self.epochs(), epochs)
            with open(self.path("grown.csv"), "a") as stream:
                stream.write("2,1\n3,1\n")
            with open(self.path("out"), "a") as output:
                output.write("a line that was c")
        self.assertEqual(self.read("out").count(b"question"), 1)

    def test_answers_follow_those_of_their_format_only(self):
        command = ["query", "--n", 6, "--seed", 1, "--norm", "--every", 2, "--checkpoint", self.path("state"), "-o", self.path("out")]
        self.succeed(*command, "--format", "csv", self.file)
        written = {"csv": self.read("out").decode()}
        for form in ("ndjson", "table"):
            written[form] = self.query("--norm", "--every", 2, "--format", form).out
        for there, text in written.items():
            for going_on in written:
                with self.subTest(there=there, going_on=going_on):
                    self.write("out", text)
                    options = ["--format", going_on, "--resume", self.file]
                    if there == going_on:
                        self.succeed(*command, *options)
                        self.assertTrue(self.read("out").decode().startswith(text))
                    else:
                        self.fail_with(1, *command, *options, naming=("out: begins with '", "--format " + there, "add " + going_on))
                        self.assertEqual(self.read("out").decode(), text)

    def epochs(self):
        text = self.read("out").decode()
        return [line.split(",")[0] for line in text[:text.rfind("\n") + 1].splitlines() if line[0].isdigit()]


class Numbers(Case):
    def test_whole_numbers(self):
        file = self.write("e.csv", "0,1\n")
        for text, value in (("1000000", 10 ** 6), ("1_000_000", 10 ** 6), ("1e6", 10 ** 6), ("1E+6", 10 ** 6), ("1.5e3", 1500),
                            ("2^20", 1 << 20), ("64Ki", 1 << 16), ("0x10", 16), ("1000e-3", 1), ("12.50e1", 125), ("2^63", 1 << 63),
                            ("9.223372036854775808e18", 1 << 63), ("9223372036854775807e0", (1 << 63) - 1)):
            with self.subTest(text=text):
                self.assertEqual(self.succeed("query", "--n", text, "--json", file).json()["n"], value)

    def test_numbers_that_are_refused(self):
        file = self.write("e.csv", "1,1\n")
        for text in ("1.5e0", "1e-3", "1.25e1", "0.5", "15e-1"):
            self.fail_with(2, "sample", "--n", text, file, naming=("--n", text, "not whole"))
        for text in ("1,000", "1__0", "_1", "1_", "1e", "e5", "1k", "1M", "1e6.5", "2^", "^3", "2^-1", "0x", "1 000", "", "-5", "1e2e3", "+3"):
            with self.subTest(text=text):
                self.fail_with(2, "sample", "--n=" + text, file, naming="expected a whole number from 1")
        for text in ("1e19", "2^64", "1e99999999999999999999", "16777216Ti", "0e5", "0x8000000000000001", "18446744073709551617e0"):
            with self.subTest(text=text):
                self.fail_with(2, "sample", "--n", text, file, naming="from 1 to 9223372036854775808")

    def test_all_counts_are_read_alike(self):
        file = self.write("e.csv", as_text(vector_events(1200, 100, 1)[0]))
        lines = self.succeed("sample", "--n", "1e2", "--samples", "5e0", "--buckets", "2^6", "--every", "1e3", file).out.splitlines()
        answer = json.loads(lines[0])
        self.assertEqual((answer["n"], answer["wanted"], answer["sketch"]["buckets"], answer["updates"]), (100, 5, 64, 1000))
        self.fail_with(2, "sample", "--n", 100, "--every", "1.5e0", file, naming=("--every", "5s"))
        self.fail_with(2, "sample", "--n", 100, "--every", "0s", file, naming="1ms")
        points = self.succeed("query", "--n", "1e2", "--point", "1e1,0x3", "--json", file).json()["points"]
        self.assertEqual([point["index"] for point in points], [10, 3])
        self.assertEqual(self.succeed("generate", "flat", "--n", "1e1", "--events", "1_0", "--seed", "1e1", "-o", "-", "--to", "text").out,
                         self.succeed("generate", "flat", "--n", 10, "--events", 10, "--seed", 10, "-o", "-", "--to", "text").out)
        self.fail_with(2, "attend", "--budget", "64KB", "--k", "k.npy", "--v", "v.npy", naming="--budget")


class Progress(Case):
    def test_progress_has_a_share_and_a_rest(self):
        file = self.write("e.csv", "1,1\n" * 400000)
        for command in (["sample"], ["query", "--every", "100000"]):
            for ranks in (None, 2):
                err = self.succeed(*command, "--n", 10, "--progress", "0.000001", file, ranks=ranks).err
                shares = [int(share) for share in re.findall(r", (\d+) % of its bytes, about [0-9.]+ (?:s|min|h) left$", err, re.M)]
                self.assertGreater(len(shares), 10)
                self.assertEqual(shares, sorted(shares))
                self.assertLess(shares[0], 20)
                self.assertGreaterEqual(shares[-1], 90)
        # Of a pipe nobody knows the length.
        err = self.succeed("sample", "--n", 10, "--progress", "0.000001", "-", stdin=b"1,1\n" * 100000).err
        self.assertIn("updates read by rank 0", err)
        self.assertNotIn("%", err)


class Help(Case):
    COMMANDS = ["sample", "query", "attend", "convert", "generate", "inspect", "combine", "protocol", "completion", "help"]

    def test_help_of_commands(self):
        self.assertEqual(self.succeed("help").out, self.succeed("--help").out)
        for command in self.COMMANDS[:-1]:
            self.assertEqual(self.succeed("help", command).out, self.succeed(command, "--help").out)
        self.assertEqual(self.succeed("help", "sample", ranks=3).out, self.succeed("help", "sample").out)
        self.assertNotIn("documents", self.succeed("help").out)

    def test_misspelt_words_are_told(self):
        for arguments, meant in ((["smaple"], "did you mean sample?"), (["qurey", "--n", 3], "did you mean query?"),
                                 (["help", "combin"], "did you mean combine?"), (["sample", "--smaples", 3], "did you mean --samples?"),
                                 (["sample", "--n", 3, "--without-replacment"], "did you mean --without-replacement?"),
                                 (["sample", "--progres=5", "x"], "did you mean --progress?"), (["sample", "--with"], "--without-replacement"),
                                 (["convert", "--ouput", "x", "y"], "did you mean --output?"),
                                 (["sample", "--n", 3, "--top", 5, "x"], "'--top'; it belongs to weir query"), (["--versoin"], "--version?")):
            with self.subTest(arguments=arguments):
                self.fail_with(2, *arguments, naming=meant)
        # What is no command may be an option.
        for arguments in (["help", "norm"], ["norm"]):
            self.fail_with(2, *arguments, naming=("unknown command 'norm'; --norm is an option of weir query",))
        self.fail_with(2, "help", "frobnicate", naming=("unknown command 'frobnicate': expected ", *self.COMMANDS))
        for arguments in (["frobnicate"], ["sample", "--zzzzzz"]):
            self.assertNotIn("mean", self.fail_with(2, *arguments, naming=arguments[-1]).err)
        self.fail_with(2, "sample", "--smaples", ranks=2, naming="did you mean --samples?")

    def test_examples_run(self):
        for seed, name in enumerate(("events.csv", "monday.csv", "tuesday.csv")):
            self.write(name, as_text(vector_events(300, 1000, seed)[0]))
        self.write("weights.npy", as_npy([[1.0 + i] for i in range(3)]))
        self.write("names.txt", "".join("name %d\n" % i for i in range(50803)))
        self.write("edges.csv", "A,5,1,2\nA,7,0,1\nA,50802,2,3\n")
        self.write("query.csv", "x,0,1\nx,1,2\n")
        self.write("flows.csv", "src,dst,bytes\n10.0.0.1,10.0.0.2,500\n10.0.0.3,10.0.0.2,40\n")
        self.write("log.jsonl", '{"user":{"id":"ann"}}\n{"user":{"id":"bob"}}\n')
        small = [[0.1 * i, 1 - 0.05 * i] for i in range(20)]
        for name in ("keys", "queries", "Q", "K", "V", "MORE"):
            self.write(name + ".npy", as_npy(small))
        for name in "QKV":
            self.write(name + ".csv", "".join("%s,%d,*,%r,%r\n" % (name, i, *row) for i, row in enumerate(small)))
        for name in ("edges.csv", "events.csv"):
            subprocess.run(["gzip", "-k", self.path(name)], check=True)
        for name, extra in (("S.weir", []), ("OTHER.weir", []), ("monday.weir", ["--samples", 8]), ("tuesday.weir", ["--samples", 8])):
            self.succeed("query" if not extra else "sample", "--n", "1e6", "--seed", 4, "--save", self.path(name), *extra, self.path("events.csv"))
        binaries = self.path("bin")
        os.mkdir(binaries)
        os.symlink(PROGRAM, os.path.join(binaries, "weir"))
        launcher = os.path.join(binaries, "mpirun")
        with open(launcher, "w") as file:
            file.write('#!/bin/sh\nshift\nexec %s "$@"\n' % " ".join(MPIEXEC))
        os.chmod(launcher, stat.S_IRWXU)
        environment = dict(os.environ, PATH=binaries + os.pathsep + os.environ["PATH"])
        alone = dict(ALONE, PATH=environment["PATH"])
        count = 0
        for command in [None] + self.COMMANDS:
            text = self.succeed("help", *([command] if command else [])).out
            self.assertIn("\nExamples:\n", text, command)
            examples = text.split("\nExamples:\n")[1].rstrip("\n").split("\n")
            for example in examples:
                with self.subTest(example=example):
                    self.assertTrue(example.startswith("  "), "examples come last")
                    # Those of attend make and use S.weir of their own.
                    script = example.replace("5e6", "5e3")
                    completed = subprocess.run(["bash", "-c", "set -o pipefail;" + script], cwd=self.folder, stdout=subprocess.PIPE,
                                               stderr=subprocess.PIPE, timeout=TIMEOUT, env=environment if "mpirun" in script else alone)
                    self.assertEqual(completed.returncode, 0, completed.stderr.decode())
                    count += 1
        self.assertGreater(count, 25)


class Documents(Case):
    def setUp(self):
        super().setUp()
        self.succeed("documents", self.path("documents"))

    def page(self, name):
        return self.read(os.path.join("documents", "man1", name + ".1")).decode()

    def test_the_manual_has_every_option(self):
        pages = sorted(os.listdir(self.path("documents/man1")))
        self.assertEqual(pages, sorted(["weir.1"] + ["weir-%s.1" % command for command in Help.COMMANDS]))
        for command in Help.COMMANDS:
            page = self.page("weir-" + command)
            options = set(re.findall(r"(?<![\w-])--[a-z0-9][\w-]*", self.succeed("help", command).out.split("\nExit codes")[0]))
            for option in options:
                self.assertIn(option.replace("-", r"\-"), page)
            for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES"):
                self.assertIn("\n.SH %s\n" % section, page)

    @unittest.skipUnless(shutil.which("groff"), "groff is not there")
    def test_the_manual_is_sound(self):
        for name in os.listdir(self.path("documents/man1")):
            completed = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-P-c", self.path("documents/man1/" + name)], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, timeout=TIMEOUT)
            self.assertEqual((completed.returncode, completed.stderr), (0, b""), name)
            if name == "weir-sample.1":
                text = re.sub(".\x08", "", completed.stdout.decode())  # bold and underlined
                self.assertIn("--on-error stop|skip (default stop)", text)
                self.assertIn("2^53", text)

    def complete(self, *words, folder=None):
        """What bash completes after these words, the last of which is begun."""
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _weir; '
                  'if [[ ${#COMPREPLY[@]} -gt 0 ]]; then printf "%s\\n" "${COMPREPLY[@]}"; fi; complete -p weir >/dev/null')
        completed = subprocess.run(["bash", "-c", script, "bash", self.path("documents/completions/bash/weir"), "weir", *words],
                                   cwd=folder or self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT)
        self.assertEqual((completed.returncode, completed.stderr), (0, b""))
        return sorted(completed.stdout.decode().split("\n")[:-1])

    def test_bash_completes(self):
        self.write("some file.csv", "")
        self.write("other.npy", "")
        os.mkdir(self.path("state"))
        everything = sorted(os.listdir(self.folder))
        self.assertEqual(self.complete(""), sorted(Help.COMMANDS))
        self.assertEqual(self.complete("co"), ["combine", "completion", "convert"])
        self.assertEqual(self.complete("--v"), ["--version"])
        self.assertEqual(self.complete("sample", "--on"), ["--on-error"])
        self.assertEqual(self.complete("sample", "--on-error", ""), ["skip", "stop"])
        self.assertEqual(self.complete("sample", "--on-error", "=", "sk"), ["skip"])
        self.assertEqual(self.complete("sample", "--on-error", "="), ["skip", "stop"])
        self.assertEqual(self.complete("query", "--format", ""), ["csv", "json", "ndjson", "table"])
        self.assertEqual(self.complete("sample", "--n", ""), [])
        self.assertEqual(self.complete("sample", "--save", ""), everything)
        self.assertEqual(self.complete("sample", "--n", "10", "so"), ["some file.csv"])
        self.assertEqual(self.complete("sample", "--metric", "l"), ["leverage"])
        self.assertEqual(self.complete("sample", "--metric", "o"), ["other.npy"])
        self.assertEqual(self.complete("sample", "--checkpoint", ""), ["documents", "state"])
        self.assertEqual(self.complete("sample", "--no-v"), ["--no-verify"])
        self.assertEqual(self.complete("generate", "z"), ["zipf"])
        self.assertEqual(self.complete("generate", "zipf", "--operand", "A"), ["A", "A1", "A2"])
        self.assertEqual(self.complete("help", "q"), ["query"])
        self.assertEqual(self.complete("completion", ""), ["bash", "fish", "zsh"])
        self.assertEqual(self.succeed("completion", "bash").out, self.read("documents/completions/bash/weir").decode())

    def test_the_other_shells_read_their_scripts(self):
        for shell, name in (("zsh", "zsh/_weir"), ("fish", "fish/weir.fish")):
            with self.subTest(shell=shell):
                script = self.read("documents/completions/" + name).decode()
                self.assertEqual(self.succeed("completion", shell).out, script)
                for option in ("on-error", "samples", "no-verify"):
                    self.assertIn(option, script)
                if shutil.which(shell):
                    completed = subprocess.run([shell, "-n", self.path("documents/completions/" + name)], stderr=subprocess.PIPE, timeout=TIMEOUT)
                    self.assertEqual((completed.returncode, completed.stderr), (0, b""))
        if shutil.which("fish"):
            script = "source %s; complete -C 'weir sample --on-error '" % self.path("documents/completions/fish/weir.fish")
            out = subprocess.run(["fish", "-N", "-c", script], stdout=subprocess.PIPE, timeout=TIMEOUT).stdout.decode()
            self.assertEqual([line.split("\t")[0] for line in out.splitlines()], ["skip", "stop"])

    def test_places_that_cannot_be_written_to(self):
        self.write("file", "")
        self.fail_with(1, "documents", self.path("file"), naming="file")
        self.fail_with(2, "completion", "tcsh", naming=("tcsh", "bash"))


if __name__ == "__main__":
    unittest.main()
