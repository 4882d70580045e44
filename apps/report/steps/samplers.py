"""Two ways to draw by |y|^2, and moments through draws without replacement."""

import math

from figures import Figure, Table, axis, chart, curve, grid, line, series
from judging import Check, Verdict, combined, decide, digits
from running import Step

SHAPES = ("flat", "zipf", "heavy-1")


def measure(bench):
    bench.part("samplers", lambda: bench.experiment("weir_samplers", "--seconds", bench.pick(3, 60)))


def pairs(parts):
    """(precision, perfect) of each setting."""
    rows = parts["samplers"]["samplers"]
    return list(zip(rows[::2], rows[1::2]))


def setting(row):
    return f"n = {row['n']:,}, {row['samples']} samples, ε = {row['epsilon']:g}, failure {row['failure']:g}"


def judge_law(parts, sampler):
    rows = [row for row in parts["samplers"]["samplers"] if row["sampler"] == sampler]
    over, verdicts = [], []
    for row in rows:
        for shape, law in row["laws"].items():
            # A relative distortion of epsilon is a total variation of epsilon / 2 at most. By chance its deviation is a third of its
            # mean or less, with 24 cells.
            excess = law["total_variation"] - law["by_chance"]
            verdicts.append(decide(excess, row["epsilon"] / 2, law["by_chance"]))
            over.append((excess / row["epsilon"], shape, row))
    worst = max(over, key=lambda one: one[0])
    return Check(f"The law of '{sampler}' is within (1 ± ε)", combined(verdicts),
                 f"Of {len(over)} laws the largest total variation beyond chance is {digits(worst[0], 2)} ε ({worst[1]}, "
                 f"{setting(worst[2])}); 0.5 ε is granted.")


def judge(parts):
    fewer = [perfect["fewer_counters"] for _, perfect in pairs(parts)]
    faster = [perfect["faster"] for _, perfect in pairs(parts)]
    return [judge_law(parts, "perfect"), judge_law(parts, "precision"),
            Check("'perfect' needs fewer counters at the same promises", decide(1, min(fewer)),
                  f"It needs {digits(min(fewer))} to {digits(max(fewer))} times fewer counters."),
            Check("'perfect' takes updates faster", decide(1, min(faster), 0.2),
                  f"It takes updates {digits(min(faster))} to {digits(max(faster))} times as fast.")]


def show(parts):
    rows = parts["samplers"]["samplers"]
    charts = []
    for sampler in ("precision", "perfect"):
        mine = [row for row in rows if row["sampler"] == sampler]
        charts.append(series(sampler, [row["counters"] for row in mine], [row["updates_per_second"] for row in mine], line="none"))
    laws = []
    for sampler in ("precision", "perfect"):
        mine = [law for row in rows if row["sampler"] == sampler for law in row["laws"].values()]
        laws.append(series(sampler, [law["by_chance"] for law in mine], [law["total_variation"] for law in mine], line="none"))
    ends = [min(law["by_chance"] for row in rows for law in row["laws"].values()),
            max(law["by_chance"] for row in rows for law in row["laws"].values())]
    laws.append(curve("as many exact draws", ends, ends, colour=6))
    error = parts["samplers"]["additive_error"]
    lemma = []
    for shape in dict.fromkeys(row["shape"] for row in error):
        mine = sorted((row for row in error if row["shape"] == shape), key=lambda row: row["buckets"] * row["epsilon"] ** 2)
        lemma.append(series(shape, [row["buckets"] * row["epsilon"] ** 2 for row in mine], [row["violated"] for row in mine], line="none"))
    table = [[row["n"], row["samples"], row["epsilon"], row["failure"], row["sampler"], row["lanes"], row["buckets"],
              f"{row['counters']:,.0f}", digits(row["updates_per_second"] / 1e6), digits(row["fewer_counters"]), digits(row["faster"]),
              *(f"{row['laws'][shape]['total_variation']:.4f} ({row['laws'][shape]['by_chance']:.4f})" for shape in SHAPES)] for row in rows]
    return [Figure(grid("", [chart("memory and speed", axis("counters", True), axis("updates a second", True), charts),
                             chart("law of the draws", axis("total variation of exact draws", True), axis("total variation", True), laws)]),
                   "Left: both samplers at the sizes that weir gives them for the same promises. Right: the law of their draws in 24 cells, "
                   "against what as many exact draws have."),
            Figure(chart("", axis("buckets · ε²", True), axis("share of entries off by more", unit="percent"), lemma,
                         horizontal=[line(0.01, "1%")]),
                   "Lemma C.1 asks for estimates of all entries within ε |z|, z being the scaled vector without its largest 1/ε² "
                   "entries: how many are off by more, by the number of buckets."),
            Table(["n", "samples", "epsilon", "failure", "sampler", "lanes", "B", "counters", "M updates/s", "fewer counters", "faster",
                   *(f"TV {shape} (by chance)" for shape in SHAPES)], table)]


SAMPLERS = Step(
    "samplers", "Perfect against precision sampling",
    "Uniform scales, a threshold and a test of the tail draw i with probability (1 ± ε) y_{i}² / |y|². Exponential scales do it "
    "without that error in the law, and with fewer counters.",
    "[Tensor] Algorithm 2, Lemma C.1, Theorem 7.6; exponential scales: Jayaram and Woodruff (2021)",
    "The total variation of 24 cells exceeds that of as many exact draws by at most ε / 2, with the latter as uncertainty; in every "
    "setting 'perfect' has fewer counters and is faster (±0.2).",
    (45, 600), measure, judge, show)


def measure_worp(bench):
    seeds = bench.part("seeds", lambda: bench.pick(40, 200))
    bench.part("worp", lambda: bench.experiment("weir_worp", "--seeds", seeds, "--rows", *bench.pick((5, 9), (5, 7, 9, 11))))


FACTOR, FLOOR = 1.5, 0.02


def name_of(row):
    return f"l{row['p']:g} {row['vector']} nu^{{{row['moment']:g}}}"


def judge_worp(parts):
    out = []
    for field, text in (("one_pass", "One pass"), ("two_passes", "Two passes")):
        rows = [row for row in parts["worp"] if row["rows"] == 5]
        # The root of a mean of so many squares has a relative standard error of 1 / sqrt(2 seeds), where errors are nearly normal.
        known = 2 / math.sqrt(2 * parts["seeds"])
        limits = [max(FACTOR * row["perfect"], FLOOR) for row in rows]
        verdict = combined(decide(row[field], limit, known * row[field]) for row, limit in zip(rows, limits))
        worst = max(zip(rows, limits), key=lambda one: one[0][field] / one[1])[0]
        out.append(Check(f"{text}: errors are near those of exact draws", verdict,
                         f"Of {len(rows)} moments the worst is {name_of(worst)}: NRMSE {digits(worst[field], 2)}, where exact draws have "
                         f"{digits(worst['perfect'], 2)}."))
    return out


def show_worp(parts):
    rows = [row for row in parts["worp"] if row["rows"] == 5]
    names = {"one_pass": "one pass", "two_passes": "two passes"}
    ends = [min(row["perfect"] for row in rows), max(row["perfect"] for row in rows)]
    figure = chart("", axis("NRMSE of exact draws without replacement", True), axis("NRMSE", True),
                   [*(series(name, [row["perfect"] for row in rows], [row[field] for row in rows], line="none") for field, name in names.items()),
                    curve("as good as exact", ends, ends, colour=6)], horizontal=[line(FLOOR, "2%")])
    table = [[row["rows"], row["buckets"], name_of(row), *(f"{row[field]:.1e}" for field in ("perfect", "one_pass", "two_passes"))]
             for row in parts["worp"]]
    return [Figure(figure, "Each point is a moment of a Zipf vector of 10,000 keys, estimated from 100 draws; 5 rows of 256 buckets."),
            Table(["rows", "buckets", "moment", "exact draws", "one pass", "two passes"], table,
                  "NRMSE is the root mean square relative error over the seeds.")]


WORP = Step(
    "worp", "WORp's table: moments through draws without replacement",
    "At the memory of a CountSketch of 31 x 100 counters, 100 draws without replacement estimate the moments of Zipf vectors nearly as "
    "well as exact draws do, with one pass or two.",
    "[WORp] the table of its section on experiments",
    f"With 5 rows the error of each moment is at most {FACTOR} times that of exact draws, or {FLOOR:.0%} (±2 standard errors, "
    "by the number of seeds).",
    (10, 60), measure_worp, judge_worp, show_worp)
