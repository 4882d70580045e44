"""Jobs that answer while their stream runs: epochs, windows, checkpoints, resolution, signals, live sources, --serve."""

import json
import os
import random
import signal
import socket
import struct
import subprocess
import time
import unittest

from harness import ALONE, MPIEXEC, PROGRAM, Case

PATIENCE = 60  # Seconds.


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def table_of(path):
    """The numbers of a state file, without the counts of updates and ranks that stand before them."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack_from("<I", content, 49)
    return content[49 + 4 + length + 16:]


class Job:
    """A weir that runs. Its process group is ended with the test."""

    def __init__(self, case, *arguments, ranks=None):
        self.out_path, self.err_path = case.path("job.out"), case.path("job.err")
        launcher = MPIEXEC + [str(ranks)] if ranks else []
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(launcher + [PROGRAM] + [str(a) for a in arguments], stdout=out, stderr=err,
                                            stdin=subprocess.DEVNULL, env=None if ranks else ALONE, start_new_session=True)
        case.addCleanup(self.end)

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def text(self, path):
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def lines(self):
        # The last one may be half written.
        return lines_of("".join(line for line in self.text(self.out_path).splitlines(True) if line.endswith("\n")))

    def wait_for(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{what}: not within {PATIENCE} s; exit code {self.process.poll()}; {self.text(self.err_path)}")

    def finish(self):
        return self.process.wait(PATIENCE)


def send(port, content):
    """Sends events to a listener, and returns what it answers."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    with connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    return json.loads(answer)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running(Case):
    def events(self, count, n=50, seed=1, name="events.csv"):
        generator = random.Random(seed)
        self.changes = [(generator.randrange(n), generator.choice([-2, -1, 1, 3])) for _ in range(count)]
        return self.write(name, "".join(f"{i},{delta}\n" for i, delta in self.changes))

    def norm_of(self, changes):
        y = {}
        for i, delta in changes:
            y[i] = y.get(i, 0) + delta
        return sum(value * value for value in y.values()) ** 0.5

    # A sketch with more buckets than entries collide in has a norm without error where its bound is 0; a bound covers
    # otherwise.
    def assert_norm(self, line, changes):
        self.assertLessEqual(abs(line["norm"] - self.norm_of(changes)), line["norm_bound"] * 1.5 + 1e-9, line)

    def test_epochs_of_one_rank_cover_so_many_events_each(self):
        path = self.events(1000)
        outcome = self.weir("query", "--n", 50, "--seed", 1, "--norm", "--every", 300, path)
        self.assertEqual(outcome.code, 0, outcome.err)
        lines = lines_of(outcome.out)
        self.assertEqual([line["epoch"] for line in lines], [1, 2, 3, 4])
        self.assertEqual([line["updates"] for line in lines], [300, 600, 900, 1000])
        self.assertEqual([line["final"] for line in lines], [False, False, False, True])
        for line in lines:
            self.assert_norm(line, self.changes[:line["updates"]])

    def test_epochs_of_many_ranks_end_with_what_one_go_gives(self):
        path = self.events(3000)
        whole = self.weir("sample", "--n", 50, "--seed", 1, "--json", path).json()
        for ranks in [2, 3]:
            outcome = self.weir("sample", "--n", 50, "--seed", 1, "--every", 1000, path, ranks=ranks)
            self.assertEqual(outcome.code, 0, outcome.err)
            lines = lines_of(outcome.out)
            self.assertEqual([line["epoch"] for line in lines], list(range(1, len(lines) + 1)))
            self.assertEqual([line["updates"] for line in lines[:2]], [1000, 2000])
            self.assertEqual([line["final"] for line in lines], [False] * (len(lines) - 1) + [True])
            for field in ["updates", "norm", "samples", "failed"]:
                self.assertEqual(lines[-1][field], whole[field])

    def test_standard_input_answers_before_its_end(self):
        process = subprocess.Popen([PROGRAM, "query", "--n", "50", "--norm", "--every", "2", "-"], env=ALONE,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(process.kill)
        process.stdin.write(b"1,3\n2,4\n")
        process.stdin.flush()
        line = json.loads(process.stdout.readline())
        self.assertEqual((line["epoch"], line["updates"], line["norm"], line["final"]), (1, 2, 5, False))
        process.stdin.close()
        line = json.loads(process.stdout.readline())
        self.assertEqual((line["updates"], line["norm"], line["final"]), (2, 5, True))
        self.assertEqual(process.wait(PATIENCE), 0)
        process.stdout.close()

    def test_windows(self):
        path = self.events(1000)
        for ranks in [None, 2]:
            outcome = self.weir("query", "--n", 50, "--seed", 1, "--norm", "--every", 100, "--window", 3, path, ranks=ranks)
            lines = lines_of(outcome.out)
            self.assertEqual([line["window_epochs"] for line in lines[:5]], [1, 2, 3, 3, 3])
            if ranks is None:
                for line in lines:
                    end = line["all_updates"]
                    self.assert_norm(line, self.changes[max(0, end - 300):end])
        outcome = self.weir("query", "--n", 50, "--seed", 1, "--norm", "--every", 100, "--window", 2, "--tumbling", path)
        self.assertEqual([line["updates"] for line in lines_of(outcome.out)], [100, 200] * 5)
        outcome = self.weir("query", "--n", 50, "--seed", 1, "--norm", "--every", 100, "--decay", 0.5, path)
        line = lines_of(outcome.out)[-1]
        self.assert_norm(line, [(i, delta * 0.5 ** (9 - k // 100)) for k, (i, delta) in enumerate(self.changes)])

    def test_the_window_is_that_of_a_fresh_sketch(self):
        path = self.events(1000)
        last = self.write("last.csv", "".join(f"{i},{delta}\n" for i, delta in self.changes[700:]))
        fresh = self.weir("sample", "--n", 50, "--seed", 1, "--save", self.path("fresh.weir"), last)
        window = self.weir("sample", "--n", 50, "--seed", 1, "--every", 100, "--window", 3, "--save",
                           self.path("window.weir"), path)
        self.assertEqual((fresh.code, window.code), (0, 0), window.err)
        self.assertEqual(table_of(self.path("window.weir")), table_of(self.path("fresh.weir")))

    def test_resolution_makes_sums_of_fractions_exact(self):
        generator = random.Random(2)
        changes = [(generator.randrange(50), generator.gauss(0, 1)) for _ in range(500)]
        back = changes[:]
        generator.shuffle(back)
        path = self.write("reals.csv", "".join(f"{i},{d!r}\n" for i, d in changes) +
                          "".join(f"{i},{-d!r}\n" for i, d in back) + "7,1.25\n")
        tables = []
        for ranks in [None, 2, 3]:
            outcome = self.weir("query", "--n", 50, "--seed", 1, "--resolution", 0.001, "--norm", "--json", "--save",
                                self.path("r.weir"), path, ranks=ranks)
            answer = outcome.json()
            self.assertEqual((answer["norm"], answer["exact_sums"]), (1.25, True))
            tables.append(table_of(self.path("r.weir")))
        self.assertEqual(tables, tables[:1] * 3)
        self.assertFalse(self.weir("query", "--n", 50, "--norm", "--json", path).json()["exact_sums"])
        # States of another resolution hold other numbers.
        self.weir("query", "--n", 50, "--seed", 1, "--norm", "--save", self.path("plain.weir"), path)
        self.fail_with(1, "combine", "-o", self.path("c.weir"), "--add", self.path("r.weir"), self.path("plain.weir"),
                       naming="resolution")
        self.fail_with(2, "sample", "--state", self.path("r.weir"), "--resolution", 0.1, path, naming="--resolution")

    def test_a_job_goes_on_from_a_checkpoint_with_other_ranks(self):
        path = self.events(400000)
        self.weir("sample", "--n", 50, "--seed", 1, "--save", self.path("whole.weir"), path)
        directory = self.path("checkpoints")
        job = ["sample", "--n", 50, "--every", 100, "--checkpoint", directory, "--seed", 1]
        running = Job(self, *job, path, ranks=2)
        running.wait_for(lambda: os.path.isdir(directory) and
                         [name for name in os.listdir(directory) if name.startswith("manifest-")], "a checkpoint")
        os.killpg(running.process.pid, signal.SIGKILL)
        running.finish()
        self.fail_with(1, *job, path, naming=["--resume", directory])
        self.fail_with(1, *job[:-1], 2, "--resume", path, naming="seed: 1 against 2")
        self.fail_with(1, *job, "--resume", self.events(10, name="other.csv"), naming=[path, "same streams"])
        outcome = self.weir(*job, "--resume", "--save", self.path("resumed.weir"), path, ranks=3)
        self.assertEqual(outcome.code, 0, outcome.err)
        self.assertIn("going on from checkpoint", outcome.err)
        self.assertEqual(table_of(self.path("resumed.weir")), table_of(self.path("whole.weir")))
        self.assertEqual(lines_of(outcome.out)[-1]["all_updates"], 400000)
        shown = self.weir("inspect", "--json", directory).json()
        self.assertEqual((shown["all_updates"], shown["is_final"]), (400000, True))

    def test_resume_without_a_checkpoint_begins_at_the_beginning(self):
        path = self.events(100)
        outcome = self.weir("sample", "--n", 50, "--json", "--checkpoint", self.path("new"), "--resume", path)
        self.assertEqual((outcome.code, outcome.json()["updates"]), (0, 100), outcome.err)

    def test_term_is_the_end_of_a_listener_and_usr1_an_answer(self):
        for ranks in [None, 2]:
            port = free_port()
            directory = self.path(f"ck{ranks}")
            running = Job(self, "query", "--n", 50, "--norm", "--point", "1,2", "--every", "10h", "--checkpoint", directory,
                          "--checkpoint-every", "10h", f"tcp://127.0.0.1:{port}", ranks=ranks)
            self.assertEqual(send(port, b"1,3\n2,4\n1,0\n"), {"accepted": 3, "skipped": 0})
            target = running.process.pid
            os.kill(target, signal.SIGUSR1)
            line = running.wait_for(running.lines, "an answer")[0]
            self.assertEqual((line["updates"], line["final"], line["whole"], line["norm"]), (3, False, False, 5))
            self.assertEqual(send(port, b"2,-4\n"), {"accepted": 1, "skipped": 0})
            os.kill(target, signal.SIGTERM)
            running.finish()
            last = running.lines()[-1]
            self.assertEqual((last["updates"], last["final"], last["norm"]), (4, True, 3))
            self.assertTrue(os.path.exists(os.path.join(directory, "manifest-1.json")))

    def test_files_that_grow(self):
        log = self.write("log.csv", "1,3\n")
        running = Job(self, "query", "--n", 50, "--norm", "--every", "100ms", "--follow", log)
        running.wait_for(lambda: [line for line in running.lines() if line["updates"] == 1], "the first event")
        with open(log, "a", encoding="ascii") as file:
            file.write("2,4\n")
        line = running.wait_for(lambda: [line for line in running.lines() if line["updates"] == 2], "the second event")[0]
        self.assertEqual(line["norm"], 5)
        running.process.terminate()
        self.assertEqual(running.finish(), 0)
        self.assertTrue(running.lines()[-1]["final"])

    def test_a_bad_line_ends_a_running_job_on_all_ranks(self):
        path = self.write("bad.csv", "1,1\n" * 3000 + "x\n")
        for ranks in [None, 2, 3]:
            outcome = self.weir("sample", "--n", 50, "--every", 100, path, ranks=ranks)
            self.assertEqual(outcome.code, 1)
            self.assertIn("bad.csv:3001", outcome.err)
            self.assertTrue(all(not line["final"] for line in lines_of(outcome.out)))

    def test_wrong_usage(self):
        path = self.events(10)
        for options, naming in [
                (["--every", "5x"], "5x"), (["--every", "0"], "--every"), (["--every", "0.1ms"], "0.1ms"),
                (["--window", "3"], "--every"), (["--every", "5", "--window", "0"], "--window"),
                (["--every", "5", "--decay", "2"], "--decay"), (["--every", "5", "--decay", "0.5", "--window", "2"], "decay"),
                (["--resume"], "--checkpoint"), (["--checkpoint-every", "5s"], "--checkpoint"),
                (["--every", "5", "--second-pass"], "--second-pass"), (["--resolution", "0"], "--resolution")]:
            with self.subTest(options=options):
                self.fail_with(2, "sample", "--n", 50, path, *options, naming=naming)

    def test_attention_answers_epoch_by_epoch(self):
        generator = random.Random(3)

        def rows(count, length):
            return [[round(generator.gauss(0, 1), 3) for _ in range(length)] for _ in range(count)]
        queries = "".join(f"Q,{i},*," + ",".join(map(str, row)) + "\n" for i, row in enumerate(rows(8, 3)))
        tokens = "".join(f"KV,{i},*," + ",".join(map(str, row)) + "\n" for i, row in enumerate(rows(100, 5)))
        calibration = self.write("calibration.npy", npy(rows(40, 6)))
        common = ["attend", "--q", self.write("q.csv", queries), "--n", 100, "--d", 3, "--dv", 2, "--calibrate", calibration,
                  self.write("kv.csv", tokens)]
        for ranks in [None, 2]:
            outcome = self.weir(*common, "--every", 40, "-o", self.path("y.npy"), ranks=ranks)
            self.assertEqual(outcome.code, 0, outcome.err)
            lines = lines_of(outcome.out)
            self.assertEqual([line["all_updates"] for line in lines], [40, 80, 100])
            self.assertTrue(lines[-1]["final"])
            self.assertEqual(self.weir(*common, "-o", self.path("whole.npy"), ranks=ranks).code, 0)
            self.assertEqual(self.read("y.npy"), self.read("whole.npy"))
        self.fail_with(2, *common, "--every", 40, "--mode", "exact", naming="--every")


def npy(rows):
    """A .npy file of doubles."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    header += " " * (63 - (len(header) + 10) % 64) + "\n"
    return (b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() +
            b"".join(struct.pack("<d", value) for row in rows for value in row))


class Served(Case):
    def test_questions_while_the_stream_runs(self):
        for ranks in [None, 2]:
            address = "unix:" + self.path(f"weir{ranks}.sock")
            metrics = self.path("metrics.prom")
            port = free_port()
            running = Job(self, "sample", "--n", 50, "--seed", 1, "--serve", address, "--metrics", metrics,
                          f"tcp://127.0.0.1:{port}", ranks=ranks)
            self.assertEqual(send(port, b"1,3\n2,4\n"), {"accepted": 2, "skipped": 0})

            def answer():
                outcome = self.weir("query", "--at", address, "--norm", "--point", "1,2", "--json")
                return outcome.code == 0 and outcome.json()["updates"] == 2 and outcome.json()
            line = running.wait_for(answer, "an answer that covers both events")
            self.assertEqual((line["norm"], [point["value"] for point in line["points"]], line["final"]), (5, [3, 4], False))
            sampled = self.weir("sample", "--at", address, "--samples", 2, "--json").json()
            self.assertEqual(sampled["updates"], 2)
            self.assertEqual(self.weir("inspect", address).code, 0)
            self.assertIn("weir_updates_total 2", self.read("metrics.prom").decode())
            running.process.terminate()
            running.finish()
            self.assertFalse(os.path.exists(address[len("unix:"):]))


class Kafka(Case):
    """Against librdkafka's mock of a cluster, in a process of its own."""

    def setUp(self):
        super().setUp()
        self.cluster = subprocess.Popen([os.environ["WEIR_MOCK_CLUSTER"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.cluster.communicate)
        self.addCleanup(self.cluster.kill)
        self.brokers = self.cluster.stdout.readline().strip()

    def test_ranks_with_silent_partitions_do_not_hold_up_the_others(self):
        self.cluster.stdin.write("topic clicks 2\n")
        self.cluster.stdin.flush()
        self.assertEqual(self.cluster.stdout.readline().strip(), "ok")
        count = 5000
        events = self.write("events.csv", "".join("%d,1\n" % (t % 50) for t in range(count)))
        # All of it goes to the first of the two partitions, and so to one of the two ranks.
        subprocess.run([os.environ["WEIR_KAFKA_PRODUCE"], self.brokers, "clicks", "1", "300", "text", events], check=True,
                       stdout=subprocess.DEVNULL, timeout=PATIENCE)
        job = Job(self, "query", "--n", 50, "--buckets", 256, "--seed", 1, "--norm", "--every", 2000,
                  "kafka://%s/clicks" % self.brokers, ranks=2)
        # A rank's share of an epoch is half of it. The other half never comes.
        told = job.wait_for(lambda: [line for line in job.lines() if line["all_updates"] >= 4000], "four epochs of a half")
        lines = job.lines()
        self.assertTrue(all(line["epoch"] == number + 1 for number, line in enumerate(lines)))
        self.assertTrue(all(0 < b["all_updates"] - a["all_updates"] <= 2000 for a, b in zip(lines, lines[1:])))
        self.assertGreaterEqual(len(lines), 4)
        self.assertFalse(told[0]["final"])
        # The launcher passes it on; its own exit code is another matter.
        os.kill(job.process.pid, signal.SIGTERM)
        job.finish()
        last = job.lines()[-1]
        self.assertTrue(last["final"])
        self.assertEqual(last["all_updates"], count)
        # Fifty entries of 100 each, in 256 buckets: within 5 standard deviations.
        self.assertLess(abs(last["norm"] ** 2 / (50 * 100 ** 2) - 1), 5 * (2 / 256) ** 0.5)


if __name__ == "__main__":
    unittest.main()
