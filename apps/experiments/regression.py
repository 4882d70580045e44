#!/usr/bin/python3
"""l1 and logistic regression on rows that weir draws from a turnstile stream, of covertype's shape.

    build/weir must be there; then: apps/experiments/regression.py

The peer: Munteanu and Omlor, "Turnstile lp leverage score sampling with applications" (ICML 2024). README.md beside this
file says what came out. Needs numpy and scipy (Debian: python3-numpy, python3-scipy).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.linalg
import scipy.optimize

ATTRIBUTES = 54
INDICATORS = slice(10, ATTRIBUTES)
GRAIN = 1024  # data are multiples of 1 / GRAIN: sums of them are exact, and numbers in text are short


def log(text):
    print(text, file=sys.stderr, flush=True)


# The data.

def make_rows(n, seed):
    """[X 1 b label], n x 57: 10 heavy-tailed and correlated numbers, a choice of 4 and one of 40 as 44 indicators, some of
    them rare, an intercept, a response with outliers for l1 regression, and a label of -1 or 1."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_t(4, (n, 4))
    loadings = rng.normal(size=(4, 10))
    numbers = factors @ loadings + 0.5 * rng.standard_t(3, (n, 10))
    numbers[:, 5:8] = np.exp(0.4 * np.clip(numbers[:, 5:8], -20, 12))  # skewed, as distances are
    # Outliers among the rows: one in a thousand is ten times as far out, in all numbers together.
    outliers = rng.random(n) < 0.001
    numbers -= np.median(numbers, axis=0)
    numbers /= np.mean(np.abs(numbers), axis=0)
    numbers[outliers] *= 10
    areas = choices(rng, factors[:, 0], np.array([0.45, 0.44, 0.06, 0.05]))
    soils = choices(rng, factors[:, 1] + rng.normal(size=n), 1 / np.arange(1, 41) ** 2.2)
    x = np.zeros((n, ATTRIBUTES + 1))
    x[:, :10] = numbers
    x[np.arange(n), 10 + areas] = 1
    x[np.arange(n), 14 + soils] = 1
    x[:, ATTRIBUTES] = 1

    effects = np.concatenate([rng.normal(size=10), 2 * rng.normal(size=44), [0]])
    noise = rng.standard_t(2, n) * (0.5 + 0.5 * np.abs(factors[:, 2]))
    wild = rng.random(n) < 0.01
    noise[wild] += 50 * rng.standard_normal(np.count_nonzero(wild))
    b = x @ effects + noise
    slopes = np.concatenate([0.4 * rng.normal(size=10), rng.normal(size=44), [0]])
    odds = np.clip(x @ slopes, -30, 30)
    odds -= np.median(odds)
    label = np.where(rng.random(n) < 1 / (1 + np.exp(-odds)), 1.0, -1.0)
    rows = np.column_stack([x, b, label])
    return np.round(rows * GRAIN) / GRAIN


def choices(rng, by, shares):
    """One choice for each entry of `by`, with such shares, which depends on it."""
    rank = np.argsort(np.argsort(by + 0.7 * rng.normal(size=len(by)))) / len(by)
    return np.searchsorted(np.cumsum(shares / shares.sum())[:-1], rank)


def write_stream(rows, folder, seed):
    """Files of the stream whose sum is `rows`. A tenth of the rows first come as others, ten times as long; later these are
    taken away, and the right ones come. One response in a hundred is wrong at first, and corrected. Returns the files and
    the number of events."""
    rng = np.random.default_rng(seed)
    n = len(rows)
    first = rows.copy()
    wrong = np.flatnonzero(rng.random(n) < 0.1)
    first[wrong] = 10 * rows[rng.integers(n, size=len(wrong))]
    corrected = np.setdiff1d(np.flatnonzero(rng.random(n) < 0.01), wrong)
    first[corrected, ATTRIBUTES + 1] += 1000
    np.save(folder / "first.npy", first)
    changes = folder / "changes.csv"
    with open(changes, "w", encoding="ascii") as file:
        for i in wrong:
            file.write(f"A,{i},-*,{','.join(map('{:.11g}'.format, first[i]))}\n")
            file.write(f"A,{i},*,{','.join(map('{:.11g}'.format, rows[i]))}\n")
        for i in corrected:
            file.write(f"A,{i},{ATTRIBUTES + 1},-1000\n")
    return [folder / "first.npy", changes], n + 2 * len(wrong) + len(corrected)


# Solvers. A problem is (x, y, weights); x has full rank, or the ridge decides.

def factor_of(gram):
    scale = 1 / np.sqrt(np.maximum(np.diag(gram), 1e-300))
    gram = gram * scale[:, None] * scale[None, :]
    gram[np.diag_indices_from(gram)] += 1e-11
    return scipy.linalg.cho_factor(gram), scale


def solve_with(factor, right):
    return factor[1] * scipy.linalg.cho_solve(factor[0], factor[1] * right)


def l1_regression(x, y, weights=None, gap=1e-6):
    """min sum w |y - x beta|, by the interior point method of Portnoy and Koenker (1997) with Mehrotra's corrector. Returns
    beta and the relative gap between its objective and that of a feasible point of the dual, which no objective is below."""
    w = np.ones(len(y)) if weights is None else weights
    x, y = x * w[:, None], y * w
    # Dual: max y.a with x^T a = x^T 1 / 2, 0 <= a <= 1, plus a constant.
    a = np.full(len(y), 0.5)
    s = 1 - a
    beta = solve_with(factor_of(x.T @ x), x.T @ y)
    r = y - x @ beta
    r[r == 0] = 1e-3
    z = np.maximum(r, 0) + 1e-2 * np.mean(np.abs(r))  # multiplier of a <= 1
    u = z - r  # of a >= 0
    target = x.T @ a
    best, best_beta, bound = np.inf, beta, -np.inf
    for _ in range(200):
        objective = np.abs(y - x @ beta).sum()
        if objective < best:
            best, best_beta = objective, beta
        # a is feasible up to rounding; what is missing counts against the bound.
        missing = x.T @ a - target
        bound = max(bound, 2 * (y @ a) - y.sum() - 2 * abs(beta @ missing))
        if best - bound <= gap * best:
            break
        q = 1 / (u / a + z / s)
        residual = y - x @ beta
        factor = factor_of(x.T @ (x * q[:, None]))

        def step(mu_u, mu_z):
            # Newton's step towards a u = mu_u, s z = mu_z.
            right = residual + mu_u / a - mu_z / s
            d_beta = solve_with(factor, x.T @ (q * right) - (target - x.T @ a))
            d_a = q * (right - x @ d_beta)
            return d_beta, d_a, mu_u / a - u - u / a * d_a, mu_z / s - z + z / s * d_a

        def length(v, d):
            negative = d < 0
            return min(1.0, 0.9995 * np.min(-v[negative] / d[negative])) if negative.any() else 1.0

        _, d_a, d_u, d_z = step(0.0, 0.0)
        primal = min(length(a, d_a), length(s, -d_a))
        dual = min(length(u, d_u), length(z, d_z))
        mu = a @ u + s @ z
        after = (a + primal * d_a) @ (u + dual * d_u) + (s - primal * d_a) @ (z + dual * d_z)
        mu = mu / (2 * len(y)) * (after / mu) ** 3
        d_beta, d_a, d_u, d_z = step(mu - d_a * d_u, mu + d_a * d_z)
        primal = min(length(a, d_a), length(s, -d_a))
        dual = min(length(u, d_u), length(z, d_z))
        a, s = a + primal * d_a, s - primal * d_a
        beta, u, z = beta + dual * d_beta, u + dual * d_u, z + dual * d_z
    return best_beta, (best - bound) / best


def logistic_regression(x, y, weights=None):
    """min sum w log(1 + exp(-y x beta)), by Newton's method, safeguarded; beta and the relative decrement, the decrease
    that is still to be had."""
    w = np.ones(len(y)) if weights is None else weights
    beta = np.zeros(x.shape[1])
    value = (w * np.logaddexp(0, -y * (x @ beta))).sum()
    decrement = np.inf
    for _ in range(100):
        p = 1 / (1 + np.exp(np.clip(y * (x @ beta), -500, 500)))
        gradient = x.T @ (w * y * p)
        step = solve_with(factor_of(x.T @ (x * (w * p * (1 - p))[:, None])), gradient)
        decrement = gradient @ step / 2 / value
        if decrement < 1e-10:
            break
        rate = 1.0
        while rate > 1e-8:
            trial = (w * np.logaddexp(0, -y * (x @ (beta + rate * step)))).sum()
            if trial < value:
                break
            rate /= 2
        if rate <= 1e-8:
            break
        beta, value = beta + rate * step, trial
    return beta, decrement


class Task:
    """One of the two regressions, solved on all rows."""

    def __init__(self, name, rows):
        self.name = name
        self.x = np.ascontiguousarray(rows[:, : ATTRIBUTES + 1])
        self.y = rows[:, ATTRIBUTES + (1 if name == "l1" else 2)]
        start = time.perf_counter()
        beta, self.gap = self.solve(self.x, self.y)
        self.seconds = time.perf_counter() - start
        self.least = self.objective(beta)
        log(f"{name}: solved on all rows in {self.seconds:.1f} s, relative gap {self.gap:.1e}")

    def solve(self, x, y, weights=None):
        # One of each kind of indicators follows from the others and the intercept.
        kept = [j for j in range(ATTRIBUTES + 1) if j not in (10, 14)]
        beta = np.zeros(ATTRIBUTES + 1)
        solver = l1_regression if self.name == "l1" else logistic_regression
        beta[kept], gap = solver(x[:, kept], y, weights)
        return beta, gap

    def objective(self, beta):
        fit = self.x @ beta
        if self.name == "l1":
            return np.abs(self.y - fit).sum()
        return np.logaddexp(0, -self.y * fit).sum()

    def ratio(self, rows, weights):
        y = rows[:, ATTRIBUTES + (1 if self.name == "l1" else 2)]
        if self.name == "logistic":
            y = np.where(y >= 0, 1.0, -1.0)  # a recovered label is not exactly one
        beta, _ = self.solve(rows[:, : ATTRIBUTES + 1], y, weights)
        return self.objective(beta) / self.least


# Samples.

def uniform_rows(rows, count, rng):
    return rows[rng.choice(len(rows), count, replace=False)], np.ones(count)


def by_mass(rows, masses, count, rng):
    """Bottom-k: `count` rows without replacement, in proportion to masses, and the inverse of their inclusions."""
    keys = rng.exponential(size=len(rows)) / masses
    order = np.argpartition(keys, count + 1)[: count + 1]
    order = order[np.argsort(keys[order])]
    chosen, tau = order[:count], keys[order[count]]
    return rows[chosen], 1 / -np.expm1(-masses[chosen] * tau)


def leverage_scores(rows):
    """Squared norms of the rows of an orthogonal basis of the columns."""
    gram = rows.T @ rows
    scale = 1 / np.sqrt(np.diag(gram))
    values, vectors = np.linalg.eigh(gram * scale[:, None] * scale[None, :])
    good = values > 1e-11 * values[-1]
    return ((rows * scale) @ (vectors[:, good] / np.sqrt(values[good]))) .__pow__(2).sum(axis=1)


def run_weir(weir, arguments):
    """The JSON of `weir sample`, on one core, and the CPU seconds of the process, with reading files and printing."""
    process = subprocess.Popen([str(weir), "sample", *map(str, arguments), "--json"], stdout=subprocess.PIPE,
                               preexec_fn=lambda: os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]}))
    with process.stdout:
        text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"weir failed: exit code {process.returncode}")
    return json.loads(text), usage.ru_utime + usage.ru_stime


def drawn(answer):
    samples = answer["samples"]
    return (np.array([sample["row"] for sample in samples]),
            1 / np.array([sample["inclusion"] for sample in samples]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--weir", default=root / "build/weir", type=Path, help="the program")
    parser.add_argument("--rows", default=581012, type=int, help="rows of the data (581,012: covertype)")
    parser.add_argument("--sizes", default=[1000, 2000, 5000], type=int, nargs="+", help="rows drawn, increasing")
    parser.add_argument("--seeds", default=3, type=int, help="samples of each kind")
    parser.add_argument("--sketches", default=["1:65536", "1:16384", "2:65536"], nargs="+", metavar="P:BUCKETS",
                        help="laws, and buckets of the sketches (65,536 is what weir suggests for 5,000 rows by --p 1)")
    parser.add_argument("--folder", type=Path, help="where the stream is written (0.3 GB for the default)")
    parser.add_argument("--json", type=Path, help="write all figures into this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = measure(options, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def measure(options, folder):
    rows = make_rows(options.rows, 1)
    files, events = write_stream(rows, folder, 2)
    np.save(folder / "plain.npy", rows)
    log(f"{events:,} events in {sum(file.stat().st_size for file in files) / 1e6:.0f} MB")
    tasks = [Task("l1", rows), Task("logistic", rows)]
    ratios = {}  # (task, method, size): values

    def judge(method, size, sample):
        for task in tasks:
            ratios.setdefault((task.name, method, size), []).append(task.ratio(*sample))

    scores = leverage_scores(rows)
    log(f"leverage: sum {scores.sum():.2f}, largest {scores.max():.3f}, "
        f"(sum of roots)^2 / n / sum = {np.sqrt(scores).sum() ** 2 / len(rows) / scores.sum():.2f}")
    for seed in range(3 * options.seeds):
        rng = np.random.default_rng(100 + seed)
        for size in options.sizes:
            judge("uniform", size, uniform_rows(rows, size, rng))
            judge("offline leverage", size, by_mass(rows, scores, size, rng))
            judge("offline root leverage", size, by_mass(rows, np.sqrt(scores), size, rng))
    timings = []
    for sketch in options.sketches:
        p, buckets = sketch.split(":")
        of_these = []
        for seed in range(1, options.seeds + 1):
            of_these.append(draw_by_weir(options, folder, files, rows.shape, p, int(buckets), seed, judge))
            log(json.dumps(of_these[-1]))
        timings.append({"p": p, "buckets": int(buckets), **of_these[0],
                        **{key: statistics.median(run[key] for run in of_these)
                           for key, value in of_these[0].items() if isinstance(value, float)}})
    return print_report(options, tasks, ratios, timings)


def draw_by_weir(options, folder, files, shape, p, buckets, seed, judge):
    """Draws from one sketch, for all sizes, as recovered and exact. Returns CPU seconds."""
    common = ["--model", "rows", "--metric", "leverage", "--without-replacement"]
    new = [*common, "--n", shape[0], "--d", shape[1], "--p", p, "--seed", seed, "--samples", options.sizes[-1],
           "--buckets", buckets]
    state = folder / "state.weir"
    name = f"weir --p {p}, B = {buckets:,}"
    answer, seconds = run_weir(options.weir, [*new, "--save", state, *files])
    result = {"bytes": answer["sketch"]["bytes"], "turnstile": seconds}
    result["insertions"] = run_weir(options.weir, [*new, folder / "plain.npy"])[1]
    for size in options.sizes:
        answer, result["query"] = run_weir(options.weir, [*common, "--state", state, "--samples", size])
        sample, weights = drawn(answer)
        judge(name, size, (sample, weights))
        rounded = sample.copy()
        rounded[:, INDICATORS] = np.round(rounded[:, INDICATORS])
        judge(name + ", rounded", size, (rounded, weights))
        answer, result["second_pass"] = run_weir(
            options.weir, [*new[:new.index("--samples")], "--samples", size, "--buckets", buckets, "--second-pass", *files])
        judge(name + ", --second-pass", size, drawn(answer))
    state.unlink()
    return result


def print_report(options, tasks, ratios, timings):
    report = {"rows": options.rows, "seeds": options.seeds, "ratios": [], "timings": timings,
              "least": {task.name: {"objective": task.least, "gap": task.gap, "seconds": task.seconds} for task in tasks}}
    methods = list(dict.fromkeys(method for _, method, _ in ratios))
    for task in tasks:
        print(f"\n### {task.name} regression: ratio, median (least .. largest) of {options.seeds} samples, {3 * options.seeds} offline\n")
        print("| rows by | " + " | ".join(f"{size:,}" for size in options.sizes) + " |")
        print("|---|" + "---|" * len(options.sizes))
        for method in methods:
            cells = []
            for size in options.sizes:
                values = ratios.get((task.name, method, size))
                if values is None:
                    cells.append("-")
                    continue
                cells.append(f"{statistics.median(values):.4f} ({min(values):.4f} .. {max(values):.4f})")
                report["ratios"].append({"task": task.name, "method": method, "size": size, "values": values})
            print(f"| {method} | " + " | ".join(cells) + " |")
    print(f"\n### CPU seconds of one core, {options.sizes[-1]:,} rows, median; files are read and JSON is written in them\n")
    print("| sketch | MB | insertions alone | with deletions, saved | a query of a saved state, with loading it | "
          "with deletions and --second-pass |")
    print("|---|---|---|---|---|---|")
    for run in timings:
        print(f"| --p {run['p']}, B = {run['buckets']:,} | {run['bytes'] / 1e6:.0f} | {run['insertions']:.2f} | "
              f"{run['turnstile']:.2f} | {run['query']:.2f} | {run['second_pass']:.2f} |")
    return report


if __name__ == "__main__":
    main()
