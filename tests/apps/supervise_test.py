"""The rules of scripts/supervise. Most jobs here are shell scripts that play one. harness.py says what this needs."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

from crash_harness import SUPERVISE, wait_until
from harness import PROGRAM, TIMEOUT, Case


class Supervise(Case):
    def setUp(self):
        super().setUp()
        self.directory = self.path("checkpoints")
        os.mkdir(self.directory)

    def start(self, *command, options=()):
        return subprocess.Popen([sys.executable, SUPERVISE, *options, "--", *map(str, command)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(self, supervisor):
        out, err = supervisor.communicate(timeout=TIMEOUT)
        return supervisor.returncode, out.decode(), err.decode()

    def forget_checkpoints(self):
        for name in os.listdir(self.directory):
            os.unlink(os.path.join(self.directory, name))

    def run_script(self, script, options=()):
        """A job that is a script of the shell. Returns the exit code, the errors, and how often it was started."""
        starts = self.path("starts")
        open(starts, "w").close()
        head = 'D=%s; echo >>%s; START=$(wc -l <%s); checkpoint() { echo "{\\"number\\": $1, \\"all_updates\\": ${3-$1}, \\"is_final\\": $2}" >$D/manifest-$1.json; }\n'
        job = self.write("job", head % (self.directory, starts, starts) + script)
        code, _, err = self.end(self.start("sh", job, "--checkpoint", self.directory, options=options))
        return code, err, self.read("starts").count(b"\n")

    def test_codes_that_end_it(self):
        for code in (2, 3, 127):
            with self.subTest(code=code):
                self.assertEqual(self.run_script("exit %d" % code)[::2], (code, 1))
        self.assertEqual(self.run_script("checkpoint 1 true; exit 0")[::2], (0, 1))

    def test_done_without_a_last_checkpoint_is_a_crash(self):
        # A launcher may say 0 though its ranks were killed.
        code, err, starts = self.run_script("if [ $START = 3 ]; then checkpoint 9 true; else checkpoint $START false; fi")
        self.assertEqual((code, starts), (0, 3), err)

    def test_crashes_with_progress_are_restarted_at_once(self):
        began = time.monotonic()
        script = "checkpoint $START false; [ $START = 15 ] && checkpoint 16 true && exit 0; kill -9 $$"
        code, err, starts = self.run_script(script, ["--restarts", "1"])
        self.assertEqual((code, starts), (0, 15), err)
        self.assertEqual(err.count("code 137 (signal 9)"), 14)
        self.assertEqual(err.count("restart now"), 14)
        self.assertLess(time.monotonic() - began, 30)

    def test_crashes_without_progress_wait_longer_and_longer(self):
        code, err, starts = self.run_script("kill -9 $$", ["--restarts", "3"])
        self.assertEqual((code, starts), (137, 4))
        for pause in ("restart now", "restart in 0.5 s", "restart in 1 s", "no progress in 3 restarts: giving up"):
            self.assertEqual(err.count(pause), 1, pause)

    def test_bad_input_is_not_tried_for_ever(self):
        code, err, starts = self.run_script('echo "weir: error: rank $START: e.csv:7: bad" >&2; exit 1')
        self.assertEqual((code, starts), (1, 2), err)
        self.assertIn("the same error twice", err)
        self.assertIn("weir: error: rank 2: e.csv:7: bad\n", err)
        # With another error, or with a checkpoint in between, it is.
        code, err, starts = self.run_script('echo "weir: error: e.csv:$START: bad" >&2; exit 1', ["--restarts", "2"])
        self.assertEqual((code, starts), (1, 3), err)
        # A checkpoint that covers nothing more is no progress.
        code, err, starts = self.run_script('checkpoint $START false 7; echo "weir: error: bad" >&2; exit 1')
        self.assertEqual((code, starts), (1, 2), err)
        self.forget_checkpoints()
        code, err, starts = self.run_script('[ $START -gt 3 ] || checkpoint $START false; echo "weir: error: bad" >&2; exit 1')
        self.assertEqual((code, starts), (1, 4), err)

    def test_full_disk_is_tried_again(self):
        code, err, starts = self.run_script('echo "weir: error: s: cannot write: No space left on device" >&2; exit 1',
                                            ["--restarts", "2"])
        self.assertEqual((code, starts), (1, 3), err)

    def test_bad_input_of_the_program(self):
        bad = self.write("e.csv", "1,1\nnonsense\n")
        code, out, err = self.end(self.start(PROGRAM, "sample", "--n", 10, "--checkpoint", self.directory, bad,
                                             options=["--ranks", "1,2"]))
        self.assertEqual(code, 1, err)
        self.assertEqual(err.count("weir: error: "), 2, err)

    def test_usage(self):
        for options, command, message in ([], ["true"], "no --checkpoint DIR"), ([], [], "no command"), \
                (["--ranks", "0"], ["true"], "--ranks: '0'"), (["--restarts"], ["true"], "--restarts needs a value"), \
                (["--bogus"], ["true"], "unknown option '--bogus'"), (["--ranks=1,"], ["true"], "--ranks: '1,'"):
            with self.subTest(options=options):
                code, _, err = self.end(self.start(*command, options=options))
                self.assertEqual(code, 2)
                self.assertIn(message, err)
        code, _, err = self.end(self.start("/no/such/program", "--checkpoint", self.directory))
        self.assertEqual(code, 127)
        self.assertIn("/no/such/program: No such file", err)

    def test_resume_is_added_once(self):
        for given, expected in ([], "--resume --checkpoint D"), (["--resume"], "--checkpoint D --resume"):
            with self.subTest(given=given):
                code, out, err = self.end(self.start("sh", "-c", 'echo "$@"; exit 3', "sh", "--checkpoint", "D", *given))
                self.assertEqual((code, out), (3, expected + "\n"), err)

    def test_ranks_take_turns(self):
        mpirun = self.write("mpirun", '#!/bin/sh\necho ranks: $2\nkill -9 $$\n')
        os.chmod(mpirun, 0o755)
        environment = dict(os.environ, PATH=self.folder + ":" + os.environ["PATH"])
        outcome = subprocess.run([sys.executable, SUPERVISE, "--restarts=2", "--ranks=4,2", "--", "weir", "--checkpoint", "D"],
                                 env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT)
        self.assertEqual(outcome.stdout, b"ranks: 4\nranks: 2\nranks: 4\n", outcome.stderr)

    def test_launcher_that_stays_without_ranks_is_ended(self):
        # As Open MPI 4.1 does now and then when a rank is lost while it starts: what has ended is not even waited for.
        mpirun = self.write("mpirun", "#!%s\nimport signal, subprocess\nsubprocess.Popen(['sleep', '0.5'])\nsignal.pause()\n" % sys.executable)
        os.chmod(mpirun, 0o755)
        code, _, err = self.end(self.start(mpirun, "weir", "--checkpoint", self.directory, options=["--restarts=0"]))
        self.assertEqual(code, 137)
        self.assertIn("the ranks have left", err)

    def test_another_writer_is_waited_for(self):
        with open(os.path.join(self.directory, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            code, _, err = self.end(self.start("sh", "-c", "exit 3", "--checkpoint", self.directory,
                                               options=["--patience", "0.2"]))
            self.assertEqual(code, 1)
            self.assertIn("another process still writes checkpoints there", err)
            supervisor = self.start("sh", "-c", "exit 3", "--checkpoint", self.directory)
            self.assertIn(b"waiting for up to 30 s", supervisor.stderr.readline())
        self.assertEqual(self.end(supervisor)[0], 3)

    def start_following(self, options=()):
        events = self.write("e.csv", "1,1\n2,2\n")
        supervisor = self.start(PROGRAM, "query", "--n", 10, "--norm", "--json", "--follow", "--checkpoint", self.directory,
                                "--checkpoint-every", "20ms", events, options=options)
        wait_until(lambda: os.path.exists(os.path.join(self.directory, "manifest-2.json")), TIMEOUT, "a checkpoint")
        return supervisor

    def test_signals_are_passed_on(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            for options in ([], ["--ranks", "2"]):
                with self.subTest(signal=number, options=options):
                    supervisor = self.start_following(options)
                    supervisor.send_signal(number)
                    code, out, err = self.end(supervisor)
                    self.assertEqual(code, 0, err)
                    self.assertEqual(json.loads(out)["updates"], 2)
                    self.forget_checkpoints()

    def test_killed_supervisor_leaves_nothing_that_writes(self):
        supervisor = self.start_following(["--ranks", "2"])
        supervisor.kill()
        supervisor.communicate()

        def is_free():
            with open(os.path.join(self.directory, "lock")) as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except BlockingIOError:
                    return False
        wait_until(is_free, TIMEOUT, "the job of a supervisor that was killed ends")
