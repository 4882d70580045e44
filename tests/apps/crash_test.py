"""A job that is killed, stopped, starved of disk and given torn checkpoints, many times: its state is that of an undisturbed
run, to the bit. The short test makes 40 runs; a longer one:

    python3 tests/apps/crash_test.py --runs 1000 --seed 7
"""

import argparse
import collections
import concurrent.futures
import signal
import statistics
import sys
import tempfile
import threading
import time
import unittest

from crash_harness import SOURCES, Failure, Run, SmallDisk, Stream


def run_many(runs, seed, workers=2, sources=None, tell=lambda text: None):
    """Returns the runs that were made and the failures among them."""
    done, failures = [], []
    sources = sources or [name for name, source in SOURCES.items() if source.is_available()]
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        stream = Stream(folder)
        tell("sources: " + ", ".join(sources))
        disk = SmallDisk(folder)
        tell("checkpoints are on a small disk" if disk.path else "no file system can be mounted here: full disks are limits of files")

        stopping = threading.Event()

        def make(k):
            if stopping.is_set():
                return
            # A disk is full for all that write there, so only one worker uses it.
            run = Run(stream, sources[k % len(sources)], seed + k, disk if disk.path and k % workers == 0 else None)
            try:
                run.execute(folder)
            except Failure as failure:
                failures.append(str(failure))
                tell("FAILED: %s" % failure)
            done.append(run)
            if len(done) % 20 == 0:
                tell("%d runs, %d failures" % (len(done), len(failures)))

        try:
            # Worker w makes the runs w, w + workers, ...
            list(pool.map(lambda w: [make(k) for k in range(w, runs, workers)], range(workers)))
        except BaseException:  # Ctrl-C: runs that have begun come to their end, so that they leave nothing behind.
            stopping.set()
            pool.shutdown()
            raise
        finally:
            disk.close()
    return done, failures


def summary(done, seconds):
    kinds = collections.Counter(hit for run in done for hit in run.hits)
    again = [time for run in done for time in run.again]
    lines = ["%d runs in %.0f s; %d faults met a running job, %d did not" %
             (len(done), seconds, sum(kinds.values()), sum(run.missed for run in done)),
             "  " + ", ".join("%s %d" % (kind, count) for kind, count in sorted(kinds.items()))]
    if again:
        lines.append("from kill to the next checkpoint: median %.2f s, 90 %% within %.2f s (%d crashes)" % (
            statistics.median(again), sorted(again)[len(again) * 9 // 10], len(again)))
    return "\n".join(lines)


class Crashes(unittest.TestCase):
    def test_faults_leave_no_trace(self):
        began = time.monotonic()
        done, failures = run_many(40, seed=1)
        print(summary(done, time.monotonic() - began))
        self.assertEqual(failures, [])
        kinds = collections.Counter(hit for run in done for hit in run.hits)
        # 40 runs try 120 faults. A test in which the job has always ended before they come shows nothing.
        self.assertGreaterEqual(sum(kinds.values()), 60)
        for fault in Run.FAULTS:
            self.assertGreaterEqual(kinds[fault.__name__], 2, fault.__name__)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="runs at the same time (2)")
    parser.add_argument("--source", action="append", choices=list(SOURCES), help="only these; by default all that are available")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    done, failures = run_many(options.runs, options.seed, options.workers, options.source, tell=lambda text: print(text, flush=True))
    print(summary(done, time.monotonic() - began))
    print("%d of %d runs failed" % (len(failures), len(done)))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
