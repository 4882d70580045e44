#!/usr/bin/python3
"""The tensor stress test: memory of a rank and time of `weir sample --method streaming` against n = n1 = n2, with X the
identity; a table on stdout and a plot of it. (python3-numpy, python3-matplotlib, python3-pil)

A2 is fixed, n x d; of A1 only some rows stream, as each costs a pass over n coordinates of y, while memory for all n rows
is there from the beginning. Peaks of resident memory are those of the kernel, of the rank with the most.
"""
import argparse
import io
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy
import PIL.Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 1 << 20
SKETCH = ["--lanes", "16", "--buckets", "512", "--levels", "2", "--seed", "1"]
# Runs a command and leaves the peak of its resident memory, in KiB, in a file.
WATCHED_RANK = ("import os, resource, subprocess, sys; code = subprocess.call(sys.argv[2:]); "
                "open(f'{sys.argv[1]}/{os.getpid()}', 'w').write("
                "str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)")


def run(program, ranks, n, fixed, stream, directory):
    """(bytes of the rank with the most, seconds of the stream, the answer)."""
    peaks = pathlib.Path(tempfile.mkdtemp(dir=directory))
    command = ["bash", "-c", '. "$0"/scripts/environment && exec mpirun --bind-to none "$@"', str(ROOT), "-n", str(ranks),
               "/usr/bin/python3", "-I", "-S", "-c", WATCHED_RANK, str(peaks), str(program), "sample", "--json", "--model",
               "kronecker", "--method", "streaming", "--n1", str(n), "--fixed", f"A2={fixed}", *SKETCH, str(stream)]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return max(int(path.read_text()) * 1024 for path in peaks.iterdir()), answer["seconds"]["ingest"], answer


def measure(options, directory):
    """A case for each n and number of ranks."""
    generator = numpy.random.default_rng(1)
    stream, fixed = directory / "a1.npy", directory / "a2.npy"
    cases = []
    for n in options.n:
        rows = min(options.rows, n)
        numpy.save(stream, generator.standard_normal((rows, options.d)))
        numpy.save(fixed, generator.standard_normal((n, options.d)))
        runs = {ranks: [] for ranks in options.ranks}
        for _ in range(options.repetitions):
            for ranks in options.ranks:
                runs[ranks].append(run(options.program, ranks, n, fixed, stream, directory))
        for ranks, results in runs.items():
            peaks, seconds, answers = zip(*results)
            if any(answer["updates"] != rows for answer in answers):
                sys.exit(f"tensor_stress.py: expected {rows} updates, n = {n}, {ranks} ranks")
            cases.append({"n": n, "ranks": ranks, "peak": statistics.median(peaks),
                          "seconds_a_row": statistics.median(seconds) / rows, "table": answers[0]["sketch"]["bytes"]})
            print(f"n = {n}, {ranks} ranks", file=sys.stderr)
    return cases


def slices(n, d, ranks):
    """Bytes that a rank holds at its peak: its rows of both factors, those of A2 a second time while X multiplies them."""
    return 8 * (n + 2 * n) * d / ranks


def growth(cases, case):
    """Of the peak since the first n on as many ranks."""
    return case["peak"] - next(first["peak"] for first in cases if first["ranks"] == case["ranks"])


def expected_growth(cases, case, d):
    first = next(first for first in cases if first["ranks"] == case["ranks"])
    return slices(case["n"], d, case["ranks"]) - slices(first["n"], d, case["ranks"])


def table(cases, d):
    lines = ["| n | ranks | peak of a rank, MiB | its growth, MiB | expected, MiB | y, 8 n^2, MiB | us a row | ns a coordinate |",
             "|" + "---|" * 8]
    for case in cases:
        n, ranks = case["n"], case["ranks"]
        lines.append(f"| {n} | {ranks} | {case['peak'] / MIB:.1f} | {growth(cases, case) / MIB:.1f} | "
                     f"{expected_growth(cases, case, d) / MIB:.1f} | {8 * n * n / MIB:.0f} | "
                     f"{case['seconds_a_row'] * 1e6:.1f} | "
                     f"{case['seconds_a_row'] * 1e9 / n:.1f} |")
    return "\n".join(lines)


def plot(cases, d, path):
    sizes = sorted({case["n"] for case in cases})
    figure, (memory, time) = plt.subplots(1, 2, figsize=(10, 4.2))
    memory.loglog(sizes, [8 * n * n / MIB for n in sizes], "k--", label="y itself, 8 n^2")
    for color, ranks in zip(("tab:blue", "tab:orange", "tab:green", "tab:red"), sorted({case["ranks"] for case in cases})):
        of_ranks = [case for case in cases if case["ranks"] == ranks]
        text = f"{ranks} rank{'s' * (ranks > 1)}"
        grown = [case for case in of_ranks if case["n"] > sizes[0]]
        memory.loglog([case["n"] for case in grown], [max(growth(cases, case), 1) / MIB for case in grown], "o",
                      color=color, label=f"{text}: growth of the peak of a rank")
        memory.loglog([case["n"] for case in grown], [expected_growth(cases, case, d) / MIB for case in grown], ":",
                      color=color, label=f"{text}: slices of A1 and, twice, A2")
        time.loglog(sizes, [case["seconds_a_row"] * 1e6 for case in of_ranks], "o-", color=color, label=text)
    memory.set(ylabel="MiB", ylim=(1 / 16, None), title=f"memory beyond that of n = {sizes[0]}, d = {d}")
    time.set(ylabel="us", title="time of a whole row of A1")
    for axis in (memory, time):
        axis.set_xscale("log", base=2)
        axis.set_xlabel("n = n1 = n2")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    image = io.BytesIO()
    figure.savefig(image, dpi=90)
    PIL.Image.open(image).convert("RGB").quantize(64).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path, help="weir")
    parser.add_argument("plot", type=pathlib.Path, help="OUT.png")
    parser.add_argument("--n", type=int, nargs="+", default=[1 << k for k in range(10, 19)], help="increasing (%(default)s)")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4], help="(%(default)s)")
    parser.add_argument("-d", type=int, default=16, help="columns of the factors (%(default)s)")
    parser.add_argument("--rows", type=int, default=256, help="that stream (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="of everything; medians (%(default)s)")
    options = parser.parse_args()
    options.program = options.program.resolve()
    with tempfile.TemporaryDirectory(prefix="weir-stress-") as directory:
        cases = measure(options, pathlib.Path(directory))
    print(table(cases, options.d))
    plot(cases, options.d, options.plot)


if __name__ == "__main__":
    main()
