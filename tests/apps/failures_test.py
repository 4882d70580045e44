"""What is left when the program is ended by a signal or cannot speak. harness.py says what this needs."""

import ctypes
import errno
import os
import platform
import random
import resource
import signal
import struct
import subprocess
import time
import unittest

from harness import ALONE, MPIEXEC, PROGRAM, TIMEOUT, Case


def start(arguments, ranks=None, **options):
    """The program in a session of its own, so that processes that it leaves behind can be found."""
    launcher = MPIEXEC + [str(ranks)] if ranks else []
    return subprocess.Popen(launcher + [PROGRAM] + [str(a) for a in arguments], env=None if ranks else ALONE,
                            start_new_session=True, **options)


def in_shell(redirection, arguments, ranks=None):
    """The program, or every rank of it, with a redirection of the shell."""
    script = 'exec "$0" "$@" ' + redirection
    launcher = MPIEXEC + [str(ranks)] if ranks else []
    return subprocess.run(launcher + ["sh", "-c", script, PROGRAM] + [str(a) for a in arguments], env=None if ranks else ALONE,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT)


def session_members(session):
    """Processes of the session that still run; those that ended and wait for their parent do not count."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % name) as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(name))
    return found


def forget_unnamed_files():
    """Makes open() with O_TMPFILE fail in this process and its children, as on NFS."""
    openat = {"x86_64": 257, "aarch64": 56, "riscv64": 56}[platform.machine()]
    load, equal, any_bit, result = 0x20, 0x15, 0x45, 0x06
    flags = 16 + 2 * 8  # the lower half of the third argument, on little-endian machines
    code = [(load, 0, 0, 0), (equal, 0, 3, openat), (load, 0, 0, flags), (any_bit, 0, 1, os.O_TMPFILE & ~os.O_DIRECTORY),
            (result, 0, 0, 0x00050000 | errno.EOPNOTSUPP), (result, 0, 0, 0x7fff0000)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(filters)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    if prctl(no_new_privileges, 1, 0, 0, 0) != 0 or prctl(set_seccomp, filter_mode, program) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Descriptors(Case):
    def setUp(self):
        super().setUp()
        self.file = self.write("e.csv", "1,1\n2,2\n")
        self.sample = ["sample", "--n", 10, "--seed", 1, "--progress", "0.000001", self.file]

    def test_standard_error_that_takes_nothing(self):
        state = self.path("s.weir")
        commands = [(0, ["--help"]), (0, self.sample), (0, ["query", "--n", 10, self.file]), (0, ["inspect", self.file]),
                    (0, ["convert", self.file, "-o", self.path("e.bin")]),
                    (0, ["generate", "zipf", "--n", 10, "--events", 20, "-o", self.path("g.csv")]),
                    (0, self.sample + ["--save", state]), (0, ["combine", "-o", self.path("t.weir"), "--add", state]),
                    (1, ["sample", "--n", 10, self.path("missing.csv")]), (2, ["sample", "--bogus"]), (2, ["frobnicate"]),
                    (1, ["inspect", self.path("missing.weir")])]
        for redirection in ("2>&-", "2>/dev/full"):
            for code, command in commands:
                with self.subTest(redirection=redirection, command=command):
                    self.assertEqual(in_shell(redirection, command).returncode, code)
            for code, command in ((0, self.sample), (1, ["sample", "--n", 10, self.path("missing.csv")])):
                with self.subTest(redirection=redirection, command=command, ranks=2):
                    self.assertEqual(in_shell(redirection, command, ranks=2).returncode, code)
        self.assertEqual(self.read("g.csv").count(b"\n"), 20)  # and no message in it

    def test_standard_output_that_takes_nothing(self):
        for redirection, reason in ((">&-", b"closed"), (">/dev/full", b"No space left")):
            for command in (["--version"], self.sample, ["inspect", self.file]):
                with self.subTest(redirection=redirection, command=command):
                    outcome = in_shell(redirection, command)
                    self.assertEqual(outcome.returncode, 1)
                    self.assertIn(b"standard output: " + reason, outcome.stderr)
            outcome = in_shell(redirection, self.sample, ranks=2)
            self.assertEqual(outcome.returncode, 1)
            self.assertIn(b"standard output: " + reason, outcome.stderr)

    def test_standard_input_that_is_closed(self):
        for ranks in (None, 2):
            self.assertEqual(in_shell("<&-", self.sample, ranks=ranks).returncode, 0)
            outcome = in_shell("<&-", ["sample", "--n", 10, "-"], ranks=ranks)
            self.assertEqual(outcome.returncode, 1)
            self.assertRegex(outcome.stderr, b"weir: error: (rank 0: )?standard input: closed")

    def test_all_closed(self):
        self.assertEqual(in_shell("<&- >&- 2>&-", self.sample + ["--save", self.path("s.weir")]).returncode, 1)
        self.assertEqual(self.succeed("inspect", self.path("s.weir"), "--json").json()["kind"], "state")


class Signals(Case):
    """A state of 160 MiB, whose saving is interrupted."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("out"))
        self.state = self.path("out/s.weir")
        self.events = self.write("e.csv", "1,1\n2,2\n")
        self.command = ["sample", "--n", 100, "--seed", 1, "--buckets", 2 ** 18, "--lanes", 16, "--save", self.state, self.events]

    def save_whole(self):
        began = time.monotonic()
        self.succeed(*self.command)
        return time.monotonic() - began

    def assert_gone(self, process):
        """No process of the session runs; a launcher may need a moment to end its ranks."""
        deadline = time.monotonic() + 20
        while session_members(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        left = session_members(process.pid)
        for member in left:
            os.kill(member, signal.SIGKILL)
        self.assertEqual(left, [])

    def end_at(self, delay, number, ranks):
        process = start(self.command, ranks, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        code = process.wait(timeout=TIMEOUT)
        self.assert_gone(process)
        return code

    def test_a_save_is_whole_or_was_never(self):
        source = random.Random(12)
        duration = self.save_whole()
        whole = self.read("out/s.weir")
        for ranks in (None, 2):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
                for old in (None, b"what was there before"):
                    with self.subTest(ranks=ranks, signal=number, old=old):
                        os.remove(self.state)
                        if old is not None:
                            self.write("out/s.weir", old)
                        self.end_at(duration * source.random(), number, ranks)
                        self.assertIn(os.listdir(self.path("out")), [["s.weir"]] if old else [[], ["s.weir"]])
                        if os.path.exists(self.state):
                            found = self.read("out/s.weir")
                            self.assertTrue(found == old or len(found) == len(whole))
                            if found != old:
                                self.succeed("inspect", self.state)
                        else:
                            self.write("out/s.weir", b"")

    def convert_from_pipe(self, prepare=lambda: None):
        """A conversion that has created its temporary file and waits for more of its input."""
        def prepare_all():
            forget_unnamed_files()
            prepare()
        process = start(["convert", "-", "-o", self.path("out/e.csv")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL, preexec_fn=prepare_all)
        self.addCleanup(process.stdin.close)
        process.stdin.write(b"1,1\n" * 100)
        process.stdin.flush()
        deadline = time.monotonic() + TIMEOUT
        while not os.listdir(self.path("out")) and time.monotonic() < deadline:
            time.sleep(0.01)
        return process

    def test_handlers_remove_files_that_have_a_name_from_the_start(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU):
            with self.subTest(signal=number):
                process = self.convert_from_pipe()
                self.assertRegex(os.listdir(self.path("out"))[0], r"^weir-%d-[0-9a-f]{16}\.tmp$" % process.pid)
                process.send_signal(number)
                self.assertEqual(process.wait(timeout=TIMEOUT), -number)
                self.assertEqual(os.listdir(self.path("out")), [])

    def test_ignored_signals_stay_ignored(self):
        process = self.convert_from_pipe(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        process.send_signal(signal.SIGHUP)
        process.stdin.close()
        self.assertEqual(process.wait(timeout=TIMEOUT), 0)

    def test_handlers_outlast_mpi(self):
        os.mkfifo(self.path("pipe"))
        writer = os.open(self.path("pipe"), os.O_RDWR)  # holds the pipe open and writes nothing
        self.addCleanup(os.close, writer)
        process = start(["sample", "--n", 10, self.path("pipe")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        caught = sum(1 << (n - 1) for n in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGXCPU))
        with open("/proc/%d/status" % process.pid) as file:
            time.sleep(1)  # for MPI to be initialised
            file.seek(0)
            masks = dict(line.split(":", 1) for line in file.read().splitlines())
        self.assertEqual(int(masks["SigCgt"], 16) & caught, caught)
        self.assertTrue(int(masks["SigIgn"], 16) >> (signal.SIGXFSZ - 1) & 1)
        process.terminate()
        self.assertEqual(process.wait(timeout=TIMEOUT), -signal.SIGTERM)
        self.assert_gone(process)

    def test_a_file_that_is_too_large(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 2 ** 20, 64 * 2 ** 20))  # MPI needs a few MiB
        process = start(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit)
        error = process.communicate(timeout=TIMEOUT)[1].decode()
        self.assertEqual(process.returncode, 1, error)
        self.assertIn("weir: error: %s: cannot write: File too large" % self.state, error)
        self.assertEqual(os.listdir(self.path("out")), [])

    def test_a_reader_of_standard_output_that_is_gone(self):
        reader, writer = os.pipe()
        os.close(reader)
        process = start(self.command, stdout=writer, stderr=subprocess.DEVNULL)
        os.close(writer)
        self.assertEqual(process.wait(timeout=TIMEOUT), -signal.SIGPIPE)
        self.assertEqual(os.listdir(self.path("out")), ["s.weir"])


if __name__ == "__main__":
    unittest.main()
