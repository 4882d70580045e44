"""Seeded random faults for a job of weir that scripts/supervise keeps running, over every kind of source.

A Run starts a job on a small stream, does what clusters do to it (processes that are killed or stopped, checkpoint files
that are torn, a disk that is full), and lets it come to its end. Its state must then be that of an undisturbed run, to the
bit. `random.Random` chooses all that the test chooses; when a fault comes is measured by the clock, so that the same seed
gives the same faults and not the same interleaving. harness.py says what this needs; without it the build in build/ is used.
WEIR_MOCK_CLUSTER and WEIR_KAFKA_PRODUCE are the programs of tests/kafka; without them Kafka is left out.
"""

import gzip
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ.setdefault("WEIR_PROGRAM", os.path.join(ROOT, "build", "weir"))
os.environ.setdefault("WEIR_MPIEXEC", "mpirun -n")
os.environ.setdefault("WEIR_DEMO_DATA", os.path.join(ROOT, "apps", "demo", "debian-dependencies"))

from harness import ALONE, PROGRAM  # noqa: E402

SUPERVISE = os.path.join(ROOT, "scripts", "supervise")
LAUNCHERS = ("mpirun", "orterun", "mpiexec", "prterun")
PATIENCE = 120  # Seconds for a run; only one that hangs takes so long.
POLL = 0.003

# An event is slow with this generator and so many lanes, while the table is small: a second of work in 5 MB of text, and
# checkpoints that are written in a millisecond.
SKETCH = ["--n", "20000", "--seed", "3", "--randomness", "nisan", "--buckets", "16", "--lanes", "64"]


class Failure(Exception):
    """A run that did not come to the right end."""


def wait_until(condition, seconds=PATIENCE, what="the test waits for"):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failure("nothing of this in %g s: %s" % (seconds, what))
        time.sleep(POLL)
    return value


def payload(path):
    """Updates, and the bytes of all that a saved state holds besides the number of ranks that wrote it."""
    with open(path, "rb") as file:
        data = file.read()
    header, endianness = 48, 1
    problem_end = header + endianness + 4 + struct.unpack_from("<I", data, header + endianness)[0]
    updates = struct.unpack_from("<Q", data, problem_end)[0]
    return updates, data[header:problem_end] + data[problem_end + 16:]


class Stream:
    """The events of all runs, in every form, and the state that they add up to."""

    def __init__(self, folder, events=600000):
        self.folder, self.events = folder, events
        self.text = os.path.join(folder, "events.csv")
        self.binary = os.path.join(folder, "events.bin")
        self.gzip = os.path.join(folder, "events.csv.gz")
        self.call("generate", "zipf", "--n", "20000", "--events", str(events), "--seed", "1", "-o", self.text)
        self.call("convert", self.text, "-o", self.binary, "--to", "binary")
        with open(self.text, "rb") as whole, gzip.open(self.gzip, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(whole, packed)
        state = os.path.join(folder, "undisturbed.weir")
        self.call("query", *SKETCH, "--norm", "--save", state, self.text)
        self.state = payload(state)
        assert self.state[0] == events

    @staticmethod
    def call(*arguments):
        subprocess.run([PROGRAM, *arguments], env=ALONE, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Source:
    """Where a run reads the stream from. Another one is a class of this kind in SOURCES."""

    is_live = False  # The job reads until it is told to stop.
    options = []  # Of the job.

    @staticmethod
    def is_available():
        return True

    def __init__(self, stream, folder, source):
        """`source` chooses, `folder` is there for files of this run."""
        self.writer = None

    def names(self):
        """What the job is to read."""
        raise NotImplementedError

    def write_from_another_process(self, *arguments):
        self.writer = subprocess.Popen([sys.executable, os.path.abspath(__file__), *map(str, arguments)],
                                       start_new_session=True)

    def is_complete(self):
        """All that the job is to read is there."""
        if self.writer is not None and self.writer.poll() not in (None, 0):
            raise Failure("the writer failed")
        return self.writer is None or self.writer.poll() is not None

    def close(self):
        if self.writer is not None:
            self.writer.kill()
            self.writer.wait()


class Text(Source):
    def __init__(self, stream, folder, source):
        super().__init__(stream, folder, source)
        # In three files of different lengths.
        with open(stream.text, "rb") as file:
            lines = file.readlines()
        cuts = sorted(source.sample(range(1, len(lines)), 2))
        self.paths = []
        for k, (begin, end) in enumerate(zip([0] + cuts, cuts + [len(lines)])):
            self.paths.append(os.path.join(folder, "part%d.csv" % k))
            with open(self.paths[-1], "wb") as file:
                file.writelines(lines[begin:end])

    def names(self):
        return self.paths


class Gzip(Source):
    def __init__(self, stream, folder, source):
        super().__init__(stream, folder, source)
        self.path = stream.gzip

    def names(self):
        return [self.path]


class Binary(Gzip):
    def __init__(self, stream, folder, source):
        super().__init__(stream, folder, source)
        self.path = stream.binary


class GrowingFile(Source):
    is_live = True
    options = ["--follow"]

    def __init__(self, stream, folder, source):
        super().__init__(stream, folder, source)
        self.path = os.path.join(folder, "growing.csv")
        with open(self.path, "wb"):
            pass
        self.write_from_another_process("append", stream.text, self.path, source.getrandbits(32))

    def names(self):
        return [self.path]


class Directory(Source):
    is_live = True
    options = ["--follow"]

    def __init__(self, stream, folder, source):
        super().__init__(stream, folder, source)
        self.path = os.path.join(folder, "arriving")
        os.mkdir(self.path)
        self.write_from_another_process("rename", stream.text, self.path, source.getrandbits(32))

    def names(self):
        return [self.path]


class Kafka(Source):
    """A topic of librdkafka's mock of a cluster, in a process of its own, and a producer in another one."""

    is_live = True
    cluster_program, producer_program = os.environ.get("WEIR_MOCK_CLUSTER"), os.environ.get("WEIR_KAFKA_PRODUCE")

    @classmethod
    def is_available(cls):
        return bool(cls.cluster_program and cls.producer_program)

    def __init__(self, stream, folder, source):
        super().__init__(stream, folder, source)
        self.cluster = subprocess.Popen([self.cluster_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.brokers = self.cluster.stdout.readline().strip()
        partitions = source.randint(1, 4)
        self.cluster.stdin.write("topic events %d\n" % partitions)
        self.cluster.stdin.flush()
        if self.cluster.stdout.readline().strip() != "ok":
            raise Failure("the mock of a cluster does not make a topic")
        self.write_from_another_process("produce", stream.text, folder, self.producer_program, self.brokers, partitions,
                                        source.getrandbits(32))

    def names(self):
        return ["kafka://%s/events" % self.brokers]

    def close(self):
        super().close()
        self.cluster.kill()
        self.cluster.communicate()


SOURCES = {"text": Text, "gzip": Gzip, "binary": Binary, "growing": GrowingFile, "directory": Directory, "kafka": Kafka}


def pieces(path, source, count):
    """The bytes of a file in so many pieces of random lengths."""
    with open(path, "rb") as file:
        data = file.read()
    cuts = sorted(source.sample(range(1, len(data)), count - 1))
    return [data[begin:end] for begin, end in zip([0] + cuts, cuts + [len(data)])]


def whole_lines(path, source, count):
    """The lines of a file in pieces of random lengths."""
    with open(path, "rb") as file:
        lines = file.readlines()
    cuts = sorted(source.sample(range(1, len(lines)), count - 1))
    return [b"".join(lines[begin:end]) for begin, end in zip([0] + cuts, cuts + [len(lines)])]


def append(path, target, seed):
    """A log that grows in a second and a half, by pieces that end anywhere in a line."""
    source = random.Random(int(seed))
    with open(target, "ab", buffering=0) as file:
        for piece in pieces(path, source, 150):
            file.write(piece)
            time.sleep(source.uniform(0, 0.02))


def rename(path, folder, seed):
    """Files that appear in a directory when they are complete."""
    source = random.Random(int(seed))
    for number, whole in enumerate(whole_lines(path, source, 40)):
        name = os.path.join(folder, "%03d.csv" % number)
        with open(name + ".tmp", "wb") as file:
            file.write(whole)
        os.rename(name + ".tmp", name)
        time.sleep(source.uniform(0, 0.07))


def produce(path, folder, program, brokers, partitions, seed):
    """Messages of some thousand events, in a second and a half."""
    source = random.Random(int(seed))
    name = os.path.join(folder, "produced.csv")
    for piece in whole_lines(path, source, 10):
        with open(name, "wb") as file:
            file.write(piece)
        form, size = source.choice(["text", "binary"]), source.choice(["4000", "60000"])
        subprocess.run([program, brokers, "events", partitions, size, form, name], check=True, stdout=subprocess.DEVNULL)
        time.sleep(source.uniform(0, 0.2))


class SmallDisk:
    """A file system of a few megabytes where one can be mounted; None in `path` elsewhere."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "disk")
        os.mkdir(self.path)
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", self.path]
        if os.getuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
            self.path = None

    def fill(self):
        with open(os.path.join(self.path, "filler"), "wb", buffering=0) as file:
            block = bytes(65536)
            while block:
                try:
                    file.write(block)
                except OSError:
                    block = block[:len(block) // 2]

    def empty(self):
        os.unlink(os.path.join(self.path, "filler"))

    def close(self):
        if self.path is not None:
            subprocess.run(["umount", "-l", self.path], check=False)


class Run:
    """One job, its faults, and its end. What came of it is in the fields."""

    def __init__(self, stream, source_name, seed, disk=None):
        self.stream, self.source_name, self.seed = stream, source_name, seed
        self.random = random.Random("%s %d" % (source_name, seed))
        self.hits = []  # The faults that met a running job.
        self.missed = 0  # Those that came when it had ended.
        self.again = []  # Seconds from a kill to the next checkpoint.
        self.starts = 0  # Of jobs, as far as they were seen by the faults.
        self.damaged = set()  # Numbers of checkpoints.
        self.last_fault = None
        self.disk = disk

    # Looking.

    def processes(self):
        """The ranks and the launchers of this run that are there. A process that has ended and waits for its parent is not."""
        ranks, launchers = [], []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % name, "rb") as file:
                    command = file.read().split(b"\0")
                if self.checkpoints.encode() not in command:
                    continue
                program = os.path.basename(os.readlink("/proc/%s/exe" % name))
            except OSError:
                continue
            if program == os.path.basename(os.path.realpath(PROGRAM)):
                ranks.append(int(name))
            elif program in LAUNCHERS:
                launchers.append(int(name))
        return ranks, launchers

    def numbers(self):
        """Of the checkpoints, the newest first."""
        names = [re.fullmatch(r"manifest-(\d+)\.json", name) for name in os.listdir(self.checkpoints)]
        return sorted((int(name[1]) for name in names if name), reverse=True)

    def newest(self):
        return max(self.numbers(), default=0)

    def updates(self):
        """What the newest checkpoint covers; None where it cannot be read just now."""
        try:
            with open(os.path.join(self.checkpoints, "manifest-%d.json" % self.newest())) as file:
                return json.load(file)["all_updates"]
        except (OSError, ValueError, KeyError):
            return None

    def has_ended(self):
        return self.supervisor.poll() is not None

    # Doing.

    def start(self):
        ranks = ",".join(str(self.random.randint(1, 4)) for _ in range(5))
        every = "%dms" % self.random.randint(10, 50)
        # Where sums are kept is no matter of the state.
        merge = self.random.choice(["root", "root", "distributed"])
        job = [PROGRAM, "query", *SKETCH, "--norm", "--json", "--merge", merge, *self.source.options, "--checkpoint", self.checkpoints,
               "--checkpoint-every", every, "--save", self.saved, *self.source.names()]
        if os.path.exists(self.saved):
            os.unlink(self.saved)
        self.supervisor = subprocess.Popen([sys.executable, SUPERVISE, "--restarts", "30", "--ranks", ranks, "--", *job],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log,
                                           start_new_session=True)  # Ctrl-C is for the test, which ends its runs well.

    def send(self, number, processes):
        """Whether a signal met any of them."""
        met = False
        for process in processes:
            try:
                os.kill(process, number)
                met = True
            except ProcessLookupError:
                pass
        return met

    def kill_supervisor(self):
        self.supervisor.kill()
        self.supervisor.wait()

    def kill_rank(self):
        ranks, _ = self.processes()
        return bool(ranks) and self.send(signal.SIGKILL, [self.random.choice(ranks)])

    def kill_ranks(self):
        return self.send(signal.SIGKILL, self.processes()[0])

    def kill_launcher(self):
        return self.send(signal.SIGKILL, self.processes()[1])

    def kill_all(self):
        if self.has_ended():
            return False
        self.kill_supervisor()
        met = self.send(signal.SIGKILL, sum(self.processes(), []))
        wait_until(lambda: not any(self.processes()), what="killed processes end")
        return met

    def crash_of_supervisor(self):
        met = bool(self.processes()[0]) and not self.has_ended()
        self.kill_supervisor()
        if self.random.random() < 0.5:
            wait_until(lambda: not any(self.processes()), what="the processes of a supervisor that was killed end")
        self.start()
        return met

    def crash_of_machine(self):
        met = self.kill_all()
        if met or self.has_ended():
            self.start()
        return met

    def hold(self, processes):
        """Stops processes for a while, in which another fault may come."""
        if not self.send(signal.SIGSTOP, processes):
            return False
        time.sleep(self.random.uniform(0.02, 0.3))
        if self.random.random() < 0.3:
            self.random.choice([self.kill_rank, self.kill_ranks, self.kill_launcher])()
            time.sleep(self.random.uniform(0, 0.1))
        self.send(signal.SIGCONT, processes)
        return True

    def stop_rank(self):
        ranks, _ = self.processes()
        return bool(ranks) and self.hold([self.random.choice(ranks)])

    def stop_launcher(self):
        return self.hold(self.processes()[1])

    def terminate(self):
        met = bool(self.processes()[0]) and not self.has_ended()
        self.supervisor.terminate()
        try:
            self.supervisor.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure("TERM did not end the job") from None
        self.expect_no_processes()
        self.start()
        return met

    def expect_no_processes(self):
        # Ranks of a supervisor that was killed earlier need a moment to notice.
        wait_until(lambda: not any(self.processes()), 20, "no process is left after the supervisor has ended")

    def damage(self):
        """Of the newest checkpoint, where an older one is whole."""
        if not self.kill_all():
            if self.has_ended():
                self.start()
            return False
        numbers = self.numbers()
        met = len(numbers) > 1 and numbers[0] not in self.damaged and numbers[1] not in self.damaged
        if met:
            self.damaged.add(numbers[0])
            names = ["manifest-%d.json" % numbers[0], "state-%d.weir" % numbers[0]]
            for name in self.random.sample(names, self.random.randint(1, 2)):
                self.tear(os.path.join(self.checkpoints, name))
        if self.random.random() < 0.3:
            # What a process leaves that was killed while it wrote.
            with open(os.path.join(self.checkpoints, "state-%d.weir" % (numbers[0] + 1 if numbers else 1)), "wb") as file:
                file.write(b"torn")
        self.start()
        return met

    def tear(self, path):
        size = os.path.getsize(path)
        how = self.random.randrange(4)
        if how == 0:
            os.truncate(path, self.random.randrange(size))
        elif how == 1:
            os.unlink(path)
        else:
            with open(path, "r+b") as file:
                for place in self.random.sample(range(size), self.random.randint(1, 3)):
                    file.seek(place)
                    byte = file.read(1)[0]
                    file.seek(place)
                    file.write(bytes([byte ^ (1 << self.random.randrange(8))]))

    def fill_disk(self):
        if self.disk is not None:
            met = bool(self.processes()[0])
            self.disk.fill()
            time.sleep(self.random.uniform(0.02, 0.3))
            if self.random.random() < 0.5:
                self.kill_rank()
                time.sleep(self.random.uniform(0, 0.3))
            self.disk.empty()
            return met
        # Files of the process that writes checkpoints cannot grow for a while.
        ranks, _ = self.processes()
        for process in ranks:
            try:
                resource.prlimit(process, resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
            except (ProcessLookupError, PermissionError):
                pass
        time.sleep(self.random.uniform(0.02, 0.3))
        for process in ranks:
            try:
                resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            except (ProcessLookupError, PermissionError):
                pass
        return bool(ranks)

    FAULTS = (kill_rank, kill_ranks, kill_launcher, crash_of_supervisor, crash_of_machine, stop_rank, stop_launcher, terminate,
              damage, fill_disk)
    CRASHES = (kill_rank, kill_ranks, kill_launcher, crash_of_machine)

    def moment(self):
        """Waits for the moment of a fault. False when the job has ended before."""
        # Some come while the job starts, most while it reads.
        if self.random.random() < 0.3:
            wait_until(lambda: self.processes()[0] or self.has_ended(), what="a job starts")
            time.sleep(self.random.uniform(0, 0.4))
        else:
            number = self.newest()
            wait_until(lambda: self.newest() > number or self.has_ended(), what="a checkpoint is written")
            time.sleep(self.random.uniform(0, 0.15))
        return not self.has_ended()

    def has_launched(self):
        """A job of this supervisor is there, and not only that of one which was killed."""
        for process in self.processes()[1]:
            try:
                with open("/proc/%d/stat" % process) as file:
                    if int(file.read().rpartition(")")[2].split()[1]) == self.supervisor.pid:
                        return True
            except OSError:
                pass
        return False

    def measure_again(self, began, before):
        """Until a process that was not there writes a checkpoint."""
        wait_until(lambda: not set(before) & set(self.processes()[0]) or self.has_ended(), what="killed processes end")
        number = self.newest()
        wait_until(lambda: self.newest() > number or self.has_ended(), what="a checkpoint after a crash")
        if not self.has_ended():
            self.again.append(time.monotonic() - began)

    def execute(self, parent):
        """Raises Failure where the run does not end as an undisturbed one does."""
        folder = tempfile.mkdtemp(prefix="%s%d-" % (self.source_name, self.seed), dir=parent)
        on_disk = self.disk is not None
        self.checkpoints = os.path.join(self.disk.path if on_disk else folder, os.path.basename(folder) + "-checkpoints")
        os.mkdir(self.checkpoints)
        self.saved = os.path.join(folder, "saved.weir")
        self.source = SOURCES[self.source_name](self.stream, folder, self.random)
        self.log = open(os.path.join(folder, "log"), "w+b")
        deadline = time.monotonic() + PATIENCE
        self.supervisor = None
        try:
            self.start()
            for fault in self.random.sample(self.FAULTS, self.random.randint(2, 4)):
                if not self.moment():
                    self.missed += 1
                    break
                before, began = self.processes()[0], time.monotonic()
                self.last_fault = fault.__name__
                met = fault(self)
                self.hits += [fault.__name__] if met else []
                self.missed += 0 if met else 1
                if met and fault in self.CRASHES:
                    self.measure_again(began, before)
            if self.source.is_live:
                wait_until(self.source.is_complete, deadline - time.monotonic(), "the writer is done")
                wait_until(lambda: (self.updates() or 0) >= self.stream.events or self.has_ended(), deadline - time.monotonic(),
                           "a checkpoint has all that was written")
                # A job that has only just begun would be ended without a last answer.
                wait_until(lambda: self.has_launched() or self.has_ended(), what="a job of this supervisor")
                number = self.newest()
                wait_until(lambda: self.newest() > number or self.has_ended(), what="a checkpoint of this job")
                if self.has_ended():
                    raise Failure("the job ended with %d before it was told to" % self.supervisor.returncode)
                self.supervisor.terminate()
            try:
                code = self.supervisor.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise Failure("the run did not end") from None
            if code != 0:
                raise Failure("exit code %d" % code)
            self.expect_no_processes()
            updates, rest = payload(self.saved)
            if updates != self.stream.events:
                raise Failure("%d updates, expected %d" % (updates, self.stream.events))
            if rest != self.stream.state[1]:
                raise Failure("the table differs from that of an undisturbed run")
        except Failure as failure:
            self.log.seek(0)
            said = self.log.read().decode(errors="replace")[-6000:]
            raise Failure("%s, seed %d, after %s (last: %s; newest checkpoint %s, %s updates): %s\n%s" % (
                self.source_name, self.seed, self.hits, self.last_fault, self.newest(), self.updates(), failure, said)) from None
        finally:
            self.source.close()
            if self.supervisor is not None and not self.has_ended():
                self.kill_supervisor()
            if self.supervisor is not None:
                self.send(signal.SIGKILL, sum(self.processes(), []))
            self.log.close()
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    {"append": append, "rename": rename, "produce": produce}[sys.argv[1]](*sys.argv[2:])
