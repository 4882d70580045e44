"""The tensor stress test: memory and time of `--method streaming` against n."""

import statistics

from figures import Figure, Table, axis, chart, curve, grid, series
from inputs import write_npy
from judging import Check, Verdict, decide, digits, duration, size_text, slope
from running import Step

D = 16
SKETCH = ["--lanes", 16, "--buckets", 512, "--levels", 2, "--seed", 1]
MIB = 1 << 20


def measure(bench):
    path = bench.scratch

    def case(n, ranks):
        rows = bench.pick(64, 256)
        write_npy(path / "A1.npy", rows, D, seed=1, normal=True)
        write_npy(path / "A2.npy", n, D, seed=2, normal=True)
        peaks, seconds = [], []
        for turn in range(bench.pick(4, 5)):
            watch = path / f"peaks-{n}-{ranks}-{turn}"
            watch.mkdir()
            answer = bench.weir("sample", "--model", "kronecker", "--method", "streaming", "--n1", n, "--fixed", f"A2={path / 'A2.npy'}",
                                *SKETCH, path / "A1.npy", ranks=ranks, watch=watch)
            peaks.append(max(int(file.read_text(encoding="ascii")) for file in watch.iterdir()))
            seconds.append(answer["seconds"]["ingest"] / rows)
        return {"n": n, "ranks": ranks, "peak": statistics.median(peaks), "row": sorted(seconds)[:2]}

    for n in bench.pick((1 << 10, 1 << 13, 1 << 15, 1 << 17), [1 << k for k in range(10, 19)]):
        for ranks in bench.pick((1, 2), (1, 2, 4)):
            bench.part(f"{n}/{ranks}", lambda n=n, ranks=ranks: case(n, ranks))


def of_ranks(parts, ranks):
    return sorted((row for row in parts.values() if row["ranks"] == ranks), key=lambda row: row["n"])


def slices(n, ranks):
    """Bytes that a rank holds at its peak: its rows of both factors, those of A2 a second time while X multiplies them."""
    return 8 * (n + 2 * n) * D / ranks


def growth(parts, row):
    """(measured, expected) growth of the peak since the least n on as many ranks."""
    first = of_ranks(parts, row["ranks"])[0]
    return row["peak"] - first["peak"], slices(row["n"], row["ranks"]) - slices(first["n"], row["ranks"])


def judge(parts):
    ranks = sorted({row["ranks"] for row in parts.values()})
    largest = [of_ranks(parts, r)[-1] for r in ranks]
    over = [growth(parts, row)[0] / growth(parts, row)[1] for row in largest]
    worst = max(range(len(over)), key=lambda k: over[k])
    row = largest[worst]
    one = of_ranks(parts, ranks[0])
    exponent, second = (slope([row["n"] for row in one[1:]], [row["row"][k] for row in one[1:]]) for k in (0, 1))
    uncertainty = 0.1 + abs(second - exponent)
    whole = 8 * row["n"] ** 2
    return [
        Check("Memory is O(n d / ranks), not n²", decide(over[worst], 1.25),
              f"At n = {row['n']:,} on {row['ranks']} rank{'s' * (row['ranks'] > 1)} the peak has grown by {size_text(growth(parts, row)[0])}, {digits(over[worst])} "
              f"times the slices of A1 and A2; y itself would take {size_text(whole)}."),
        Check("An event takes O(n)", decide(exponent, 1.2, uncertainty),
              f"The time of a row of A1 grows as n to the power {digits(exponent)} (±{digits(uncertainty, 2)}), to {duration(one[-1]['row'][0])} at n = {one[-1]['n']:,}; "
              "1.2 is granted for caches."),
    ]


def show(parts):
    ranks = sorted({row["ranks"] for row in parts.values()})
    memory, time = [], []
    sizes = sorted({row["n"] for row in parts.values()})[1:]
    for count, r in enumerate(ranks):
        rows = of_ranks(parts, r)
        name = f"{r} rank{'s' * (r > 1)}"
        memory.append(series(name, sizes, [max(growth(parts, row)[0], 1) for row in rows[1:]], line="none", colour=count))
        memory.append(curve(f"slices, {name}", sizes, [growth(parts, row)[1] for row in rows[1:]], "dotted", colour=count))
        time.append(series(name, [row["n"] for row in rows], [row["row"][0] for row in rows], colour=count))
    memory.append(curve("y itself, 8 n²", sizes, [8 * n * n for n in sizes], colour=6))
    table = [[f"{row['n']:,}", row["ranks"], size_text(row["peak"]), size_text(growth(parts, row)[0]), size_text(growth(parts, row)[1]),
              size_text(8 * row["n"] ** 2), duration(row["row"][0]), duration(row["row"][0] / row["n"])] for row in parts.values()]
    return [Figure(grid("", [chart("growth of the peak of a rank", axis("n = n1 = n2", True), axis("memory", True, "bytes"), memory),
                             chart("time of a whole row of A1", axis("n = n1 = n2", True), axis("time", True, "seconds"), time)]),
                   f"y = (A1 ⊗ A2) vec X with d = {D} and X the identity; A2 is fixed, rows of A1 stream."),
            Table(["n", "ranks", "peak of a rank", "its growth", "expected", "y itself", "time of a row", "of a coordinate"], table)]


TENSOR = Step(
    "tensor", "Tensor stress: memory and time against n",
    "Where one factor of A1 ⊗ A2 streams, draws from y of length n² take O(n d) space and O(n) update time; the trivial way takes n².",
    "[Tensor] Section 7: Algorithm 1, Lemma 7.4 (C.1), Theorem 7.6",
    "From the least to the largest n the peak of a rank grows by at most 1.25 times the slices of A1 and (twice) A2; the time of a row grows "
    "as n to a power of at most 1.2, without the least n (±0.1 and what the second fastest runs give).",
    (30, 300), measure, judge, show)
