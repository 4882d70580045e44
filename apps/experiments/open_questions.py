#!/usr/bin/python3
"""The open questions of the papers [Tensor] and [Attention], as far as experiment can answer them: Markdown tables on stdout.

    build/weir must be there; then: apps/experiments/open_questions.py [--only bounded heads updates context]

README.md beside this file says what came out. Needs numpy (Debian: python3-numpy).
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ROWS_OF_SKETCH, YIELD = 5, 1 - math.exp(-1)  # of weir's default sketches: a lane yields a draw with this probability


def log(text):
    print(text, file=sys.stderr, flush=True)


class Table:
    """A Markdown table, printed row by row; `records` are for JSON."""

    def __init__(self, title, columns):
        self.title, self.columns, self.records = title, columns, []
        print(f"\n### {title}\n\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)

    def add(self, *cells):
        print("| " + " | ".join(cell if isinstance(cell, str) else f"{cell:.3g}" for cell in cells) + " |", flush=True)
        self.records.append(dict(zip(self.columns, cells)))


def run_weir(weir, *arguments):
    """The JSON that weir prints, the CPU seconds it took on one core, and the peak of its memory in bytes."""
    process = subprocess.Popen([str(weir), *map(str, arguments), "--json"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE,
                               preexec_fn=lambda: os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]}))
    with process.stdout, process.stderr:
        text = process.stdout.read()
        errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"weir {' '.join(map(str, arguments))}: {errors.decode()}")
    return json.loads(text), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


# Importance weights: target p ~ exp(y), proposal q.

def softmax(y):
    p = np.exp(y - y.max())
    return p / p.sum()


class Reweighted:
    """Draws from q, of which one is chosen in proportion to p / q."""

    def __init__(self, p, q):
        self.p, self.q = p, q / q.sum()
        with np.errstate(divide="ignore"):
            self.w = np.where(p > 0, p / np.maximum(self.q, 1e-300), 0)
        self.effective = 1 / np.sum(self.p * self.w)  # effective sample size, a share of the draws
        self.rejection = self.w.max()  # draws for one that is accepted
        self.pool = None

    def distance(self, draws, rng, trials=400):
        """Total variation between p and the law of the chosen one. The law is p_i times the mean of
        draws / (w_i + the sum of the weights of draws - 1 others), over random others."""
        if self.pool is None:
            self.pool = self.w[rng.choice(len(self.q), size=2 ** 18, p=self.q)]
        others = self.pool[rng.integers(len(self.pool), size=(trials, draws - 1))].sum(axis=1)
        # The mean is a smooth function of the weight: it is worked out for some of them.
        at = np.unique(np.concatenate([np.quantile(self.w, np.linspace(0, 1, 100)), [self.w.min(), self.w.max()]]))
        mean = np.array([np.mean(draws / np.maximum(w + others, 1e-300)) for w in at])
        mean[0] = min(mean[0], draws / at[0]) if at[0] > 0 else mean[0]
        ratio = np.interp(self.w, at, mean)
        return 0.5 * np.sum(self.p * np.abs(ratio - np.sum(self.p * ratio)))

    def draws_until(self, distance, rng, most=2 ** 16):
        """The power of two of draws whose law is within that total variation; infinite beyond `most`."""
        draws = 1
        while draws <= most:
            if self.distance(draws, rng, max(50, min(400, 2 ** 19 // draws))) <= distance:
                return draws
            draws *= 2
        return math.inf


def shifted(y, by):
    return (y - y.mean() + by) ** 2


def sketch_bytes(draws, n):
    """Of weir's default sketch for so many draws with replacement: lanes x 5 rows x B buckets x 8 bytes."""
    if not math.isfinite(draws):
        return math.inf
    buckets = 128 if n <= 2 ** 17 else 256
    return math.ceil(draws / YIELD) * ROWS_OF_SKETCH * buckets * 8


FAMILIES = {
    "normal": lambda c, rng, n: np.clip(c / 3 * rng.standard_normal(n), -c, c),
    "uniform": lambda c, rng, n: rng.uniform(-c, c, n),
    # The worst for a proposal that does not know y: as much of exp(y) in few large entries as in all others.
    "two values": lambda c, rng, n: np.where(np.arange(n) < max(1, round(n * math.exp(-2 * c))), c, -c),
}


def bounded(options, report):
    rng = np.random.default_rng(1)
    sizes = [2 ** 10, 2 ** 14, 2 ** 18]
    table = Table("1. Exponential draws from l2 draws, |y_i| <= c: draws until the total variation is 0.05",
                  ["y", "n", "c", "uniform", "l2", "l2 of y + c + 1", "effective share", "draws by rejection",
                   "e^(2c)", "sketch / dense y"])
    for name, family in FAMILIES.items():
        for n in sizes:
            for label, c in (("0.5", 0.5), ("1", 1), ("2", 2), ("4", 4), ("ln(n) / 2", math.log(n) / 2), ("ln n", math.log(n))):
                y = family(c, rng, n)
                p = softmax(y)
                proposals = [np.ones(n), y ** 2 + 1e-300, (y + c + 1) ** 2]
                reweighted = [Reweighted(p, q) for q in proposals]
                draws = [each.draws_until(0.05, rng, options.most_draws) for each in reweighted]
                best = min(draws)
                table.add(name, f"2^{n.bit_length() - 1}", label, *[at_most(d, options.most_draws) for d in draws],
                          reweighted[2].effective, reweighted[2].rejection, math.exp(2 * c),
                          sketch_bytes(best, n) / (8 * n) if math.isfinite(best) else "-")
    report["bounded"] = table.records
    report["bounded_drawn"] = drawn_by_weir(options)


def at_most(draws, most):
    return f"{draws:,}" if math.isfinite(draws) else f"> {most:,}"


def cells_of(p, count):
    """A partition of the indices into `count` cells of about equal p, in the order of p."""
    order = np.argsort(p)
    cells = np.empty(len(p), dtype=int)
    cells[order] = np.minimum((np.cumsum(p[order]) * count).astype(int), count - 1)
    return cells


def cell_distance(p, indices, weights, count=16):
    cells = cells_of(p, count)
    truth = np.bincount(cells, weights=p, minlength=count)
    found = np.bincount(cells[indices], weights=weights, minlength=count)
    return 0.5 * np.abs(truth - found / found.sum()).sum()


def drawn_by_weir(options):
    """The same with real draws: values and probabilities that weir prints, and exact values of a second pass."""
    table = Table("1b. The reweighted draws of weir (n = 2^16, l2 of y + c + 1, 16 cells of equal softmax): total variation",
                  ["y", "c", "draws", "effective", "as printed", "--second-pass", "exact l2 draws", "exact softmax draws",
                   "table, MiB"])
    n, wanted = 2 ** 16, 1000
    rng = np.random.default_rng(2)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / "y.npy"
        for name in ("normal", "two values"):
            for c in (1, 2, 4):
                y = FAMILIES[name](c, rng, n)
                rng.shuffle(y)
                z = y + c + 1
                np.save(file, z)
                p, q = softmax(y), z ** 2 / np.sum(z ** 2)
                printed, _, _ = run_weir(options.weir, "sample", "--samples", wanted, "--seed", 1, file)
                exact, _, _ = run_weir(options.weir, "sample", "--samples", wanted, "--seed", 1, "--second-pass", file)
                distances = []
                for answer in (printed, exact):
                    values = np.array([s["value"] for s in answer["samples"]])
                    indices = np.array([s["index"] for s in answer["samples"]])
                    weights = np.exp(values - c - 1) / values ** 2
                    distances.append(cell_distance(p, indices, weights))
                effective = weights.sum() ** 2 / np.sum(weights ** 2)
                count = len(indices)
                of_l2, of_softmax = [], []
                for _ in range(20):
                    indices = rng.choice(n, count, p=q)
                    of_l2.append(cell_distance(p, indices, np.exp(y[indices]) / q[indices]))
                    of_softmax.append(cell_distance(p, rng.choice(n, count, p=p), np.ones(count)))
                table.add(name, float(c), f"{count:,}", effective, *distances, statistics.median(of_l2),
                          statistics.median(of_softmax), printed["sketch"]["bytes"] / 2 ** 20)
    return table.records


# Real attention.

def heads_of(folder):
    for file in sorted(Path(folder).glob("*_q.npy")):
        keys = file.with_name(file.name.replace("_q.npy", "_k.npy"))
        if keys.exists():
            yield file.name[:-len("_q.npy")], np.load(file).astype(float), np.load(keys).astype(float)


def heads(options, report):
    rng = np.random.default_rng(3)
    table = Table("2. Real heads, 1,024 tokens: draws until the total variation to the softmax law is 0.1, median (largest) of "
                  f"{options.queries} queries",
                  ["head", "deviation of scores", "range", "uniform", "l2", "l2, shifted", "effective share, shifted",
                   "tokens that hold 90%"])
    seen = set()
    for folder in options.heads:
        for name, q, k in heads_of(folder):
            if name in seen or len(k) < 1024:
                continue
            seen.add(name)
            window = k[:1024]
            results, spreads, ranges, effective, heavy = [], [], [], [], []
            for t in np.linspace(0, min(len(q), len(k)) - 1, options.queries).astype(int):
                y = window @ q[t] / math.sqrt(k.shape[1])
                p = softmax(y)
                spread = y.std()
                laws = [Reweighted(p, law) for law in (np.ones(len(y)), y ** 2 + 1e-300, shifted(y, spread) + 1e-300)]
                results.append([law.draws_until(0.1, rng, options.most_draws) for law in laws])
                effective.append(laws[2].effective)
                spreads.append(spread)
                ranges.append(np.ptp(y))
                heavy.append(np.searchsorted(np.cumsum(np.sort(p)[::-1]), 0.9) + 1)
            columns = list(zip(*results))
            table.add(name, statistics.median(spreads), statistics.median(ranges),
                      *[f"{at_most(statistics.median_high(c), options.most_draws)} ({at_most(max(c), options.most_draws)})"
                        for c in columns],
                      statistics.median(effective), f"{statistics.median(heavy):.0f}")
    report["heads"] = table.records


# Update time.

def updates(options, report):
    table = Table("3. An event when A streams, microseconds of one core (slope between two lengths of stream)",
                  ["d", "x fixed: entry", "x fixed: whole row", "both stream: entry", "both stream: entry, divided by d",
                   "both stream: whole row", "an entry of the whole row", "A fixed: entry of x"])
    rng = np.random.default_rng(4)
    n = 4096
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for d in options.columns:
            np.save(folder / "x.npy", rng.integers(-8, 9, d).astype(float))
            np.save(folder / "A.npy", rng.integers(-8, 9, (n, d)).astype(float))
            counts = {"entry": 200_000, "row": max(1000, 2_000_000 // d // 4), "x": 400_000}
            for kind, count in counts.items():
                for times in (1, 3):
                    write_events(options.weir, folder / f"{kind}{times}", kind, n, d, times * count, rng)

            def slope(kind, *arguments):
                seconds = [min(run_weir(options.weir, "sample", "--model", "product", "--seed", 1, *arguments,
                                        folder / f"{kind}{times}")[1] for _ in range(2)) for times in (1, 3)]
                return max(0.0, (seconds[1] - seconds[0]) / (2 * counts[kind]) * 1e6)

            fixed = ["--n", n, "--d", d, "--fixed", f"x={folder / 'x.npy'}"]
            (folder / "query.csv").write_text("".join(f"x,{j},{j % 7 - 3.5}\n" for j in range(d)))
            both = ["--n", n, "--d", d, folder / "query.csv"]
            entry, row = slope("entry", *both), slope("row", *both)
            table.add(str(d), slope("entry", *fixed), slope("row", *fixed), entry, entry / d, row, row / d,
                      slope("x", "--n", n, "--d", d, "--fixed", f"A={folder / 'A.npy'}", "--no-verify"))
    report["updates"] = table.records


def write_events(weir, file, kind, n, d, count, rng):
    lines = file.with_suffix(".csv")
    with open(lines, "w", encoding="ascii") as stream:
        values = rng.integers(1, 9, count)
        columns = rng.integers(0, d, count)
        rows = rng.integers(0, n, count)
        if kind == "entry":
            stream.writelines(f"A,{i},{j},{v}\n" for i, j, v in zip(rows, columns, values))
        elif kind == "x":
            stream.writelines(f"x,{j},{v}\n" for j, v in zip(columns, values))
        else:
            row = ",".join(map(str, rng.integers(-8, 9, d)))
            stream.writelines(f"A,{i},*,{row}\n" for i in rows)
    os.replace(lines, file)


# Context length.

def write_tokens(folder, n, d, queries, rng):
    """Queries, keys and values as arrays of floats. Scores vary by 1, .4, .15, ... in few directions, as on heads that attend
    well; values depend on keys. Written block by block."""
    scales = np.maximum(0.4 ** np.arange(d), 0.01) ** 0.5 * d ** 0.25
    mix = rng.standard_normal((d, d)) / math.sqrt(d)
    files = {name: folder / f"{name}.npy" for name in "qkv"}
    arrays = {name: np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(queries if name == "q" else n, d))
              for name, file in files.items()}
    arrays["q"][:] = rng.standard_normal((queries, d)) * scales
    for first in range(0, n, 65536):
        count = min(65536, n - first)
        keys = rng.standard_normal((count, d)) * scales
        arrays["k"][first:first + count] = keys
        arrays["v"][first:first + count] = keys @ mix + rng.standard_normal((count, d))
    for array in arrays.values():
        array.flush()
    return files


MODES = {
    "anisotropic, 64 KiB": ["--budget", "64KiB", "--no-estimate"],
    "exact": ["--mode", "exact"],
    "paper": ["--mode", "paper", "--degree", 2, "--centre"],
    "collapsed": ["--mode", "collapsed", "--degree", 2, "--centre"],
    "paired": ["--mode", "paired", "--degree", 2, "--centre"],
}


def context(options, report):
    d, memory, hour = 16, 16 * 2 ** 30, 3600.0
    table = Table(f"4. weir attend, d = {d}: CPU time of one core and memory, and where they end",
                  ["mode", "n", "seconds for the tokens", "a query, us", "peak, MiB", "state, MiB", "error of 256 queries",
                   "n with 16 GiB (extrapolated)", "n with as many queries in an hour (extrapolated)"])
    rng = np.random.default_rng(5)
    points = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for n in options.tokens:
            queries = 8192
            files = write_tokens(folder, n, d, queries, rng)
            q = np.load(files["q"])
            np.save(folder / "few.npy", q[:256])
            exact = None
            for mode, arguments in sorted(MODES.items(), key=lambda item: item[0] != "exact"):
                outputs = folder / "outputs.npy"
                sparse = mode in ("paper", "collapsed")
                few = mode == "exact"  # whose queries take long
                try:
                    answer, seconds, peak = run_weir(options.weir, "attend", "--q", folder / "few.npy" if few else files["q"],
                                                     "--k", files["k"], "--v", files["v"], *arguments, "-o",
                                                     outputs.with_suffix(".mtx" if sparse else ".npy"))
                except RuntimeError as error:
                    log(str(error)[:400])
                    table.add(mode, f"{n:,}", "refused", "", "", "", "", "", "")
                    continue
                found = read_outputs(outputs, sparse)
                # CPU time is divided as the phases divide the time on the clock, which others on the machine stretch.
                phases = {key: value for key, value in answer["seconds"].items() if key not in ("token", "query")}
                share = (phases.get("answer", 0) + phases.get("recover", 0)) / sum(phases.values())
                query = seconds * share / (256 if few else queries)
                if mode == "exact":
                    exact = found
                error = "-" if exact is None else f"{np.linalg.norm(found - exact) / np.linalg.norm(exact):.2g}"
                points[mode].append((n, seconds * (1 - share), query, peak))
                state = answer.get("state_bytes") or None
                table.add(mode, f"{n:,}", seconds * (1 - share), query * 1e6, peak / 2 ** 20,
                          "-" if state is None else state / 2 ** 20, error, *limits(points[mode], memory, hour))
    report["context"] = table.records


def read_outputs(outputs, sparse):
    """The first 256 rows."""
    if not sparse:
        return np.load(outputs)[:256]
    with open(outputs.with_suffix(".mtx"), encoding="ascii") as file:
        lines = [line.split() for line in file if not line.startswith("%")]
    dense = np.zeros((int(lines[0][0]), int(lines[0][1])))
    for i, j, value in lines[1:]:
        dense[int(i) - 1, int(j) - 1] = float(value)
    return dense[:256]


def limits(points, memory, hour):
    """n at which memory, and the time of n tokens and n queries, reach their limits: lines through the last two lengths."""
    if len(points) < 2:
        return "-", "-"
    (n0, t0, q0, m0), (n1, t1, q1, m1) = points[-2:]
    slope = (m1 - m0) / (n1 - n0)
    by_memory = "no limit seen" if slope < 1 else f"~{n1 + (memory - m1) / slope:.1e}"
    token = max(t1 - t0, 0) / (n1 - n0)
    growth = max(q1 - q0, 0) / (n1 - n0)  # of the time of a query
    n = 10.0
    while n < 1e13 and n * token + n * (q1 + growth * (n - n1)) < hour:
        n *= 1.05
    return by_memory, f"~{n:.1e}" if n < 1e13 else "no limit seen"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default=ROOT / "build/weir", type=Path, help="the program")
    parser.add_argument("--only", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS), help="questions to run")
    parser.add_argument("--heads", nargs="+", type=Path, default=[ROOT / "apps/experiments/attention-data"],
                        help="folders of NAME_q.npy and NAME_k.npy")
    parser.add_argument("--queries", type=int, default=16, help="queries of each head")
    parser.add_argument("--most-draws", type=int, default=2 ** 14, help="give up beyond so many")
    parser.add_argument("--columns", type=int, nargs="+", default=[4, 16, 64, 256], help="d of the streams of A")
    parser.add_argument("--tokens", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="context lengths")
    parser.add_argument("--folder", type=Path, help="where temporary files are written")
    parser.add_argument("--json", type=Path, help="write all figures into this file")
    options = parser.parse_args()
    report = {}
    for name in options.only:
        QUESTIONS[name](options, report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


QUESTIONS = {"bounded": bounded, "heads": heads, "updates": updates, "context": context}

if __name__ == "__main__":
    main()
