"""Whether sketches of the sizes that weir chooses keep what is promised: the law, the values, the failures; every printed number."""

import math

from figures import Figure, Table, Text, axis, chart, curve, grid, line, series
from judging import Check, Verdict, combined, decide, digits, upper_tail
from running import Step

EPSILON = 0.1  # the default
BUCKETS = 128  # that the default takes for these lengths
SIGNIFICANCE = 1e-4


def measure(bench):
    seconds = bench.pick(0.2, 1.0)
    bench.part("calibration", lambda: bench.experiment("weir_calibration", "--seconds", seconds))


def law_rows(parts):
    return [row for row in parts["calibration"]["law"] if row["p"] == 2 and row["threshold"] == 1]


def judge_law(parts):
    rows = [row for row in law_rows(parts) if row["buckets"] >= BUCKETS]
    # What can be seen is the root of one standard deviation of the square when the law is exact.
    verdict = combined(decide(row["distortion"] ** 2, EPSILON ** 2, 3 * row["distortion_error"] ** 2) for row in rows)
    worst = max(rows, key=lambda row: row["distortion"])
    return Check(f"With {BUCKETS} buckets or more the law of the draws is distorted by at most {EPSILON}", verdict,
                 f"Of {len(rows)} cases the largest distortion is {digits(worst['distortion'])} ({worst['shape']}, "
                 f"n = {worst['n']:,}, {worst['buckets']:,} buckets; {digits(worst['distortion_error'], 2)} can be seen); {EPSILON} is granted.")


def judge_failures(parts):
    rows = parts["calibration"]["failure"]
    tails = [upper_tail(row["trials"], row["promised"], round(row["observed"] * row["trials"])) for row in rows]
    verdict = Verdict.NO if min(tails) < SIGNIFICANCE / len(rows) else Verdict.YES
    expected = sum(row["trials"] * row["promised"] for row in rows)
    if verdict is Verdict.YES and expected < 10:
        verdict = Verdict.UNDECIDED
    worst = max(rows, key=lambda row: row["observed"] / row["promised"])
    return Check("Fewer draws than asked for come out at most as often as promised", verdict,
                 f"Of {len(rows)} cases the worst fails in {digits(worst['observed'], 2)} of {worst['trials']:,} trials, where "
                 f"{worst['promised']:g} is promised; {expected:.0f} failures were granted in all.")


def judge(parts):
    return [judge_law(parts), judge_failures(parts)]


def by_shape(rows, field):
    out = []
    for shape in dict.fromkeys(row["shape"] for row in rows):
        mine = [row for row in rows if row["shape"] == shape]
        out.append(series(shape, [row["buckets"] for row in mine], [row[field] for row in mine]))
    return out


def show(parts):
    charts = []
    for n in dict.fromkeys(row["n"] for row in law_rows(parts)):
        rows = [row for row in law_rows(parts) if row["n"] == n]
        buckets = sorted({row["buckets"] for row in rows})
        granted = curve("granted by weir: 0.42 ln(n) / B", buckets, [0.42 * math.log(n) / b for b in buckets], colour=6)
        blind = [max(row["distortion_error"] for row in rows if row["buckets"] == b) for b in buckets]
        charts.append(chart(f"distortion of the law, n = {n:,}", axis("buckets B", True), axis("distortion", least=0),
                            [*by_shape(rows, "distortion"), granted, curve("what can be seen", buckets, blind, "dotted", colour=7)],
                            horizontal=[line(EPSILON, "ε")]))
        charts.append(chart(f"error of values, n = {n:,}", axis("buckets B", True), axis("root mean square error", True),
                            by_shape(rows, "value_rms")))
    failures = [[row["samples"], f"{row['p']:g}", row["promised"], row["lanes"], digits(row["exact"], 2), row["trials"],
                 digits(row["observed"], 2)] for row in parts["calibration"]["failure"]]
    return [Figure(grid("", charts, share_x=True), "Draws by |y|² from sketches with 16 lanes, compared with the exact draws of the "
                   "same random factors. Heavy-1 has half of the mass in one entry, heavy-8 in eight."),
            Table(["samples", "p", "promised", "lanes", "binomial tail", "trials", "observed"], failures,
                  "How often fewer samples come than were asked for (zipf, n = 1,024).")]


CALIBRATION = Step(
    "calibration", "Calibration: does the law hold at the sizes that weir chooses?",
    "A linear sketch of poly(1/ε, log n) bits draws index j with probability (1 ± ε) y_{j}² / |y|² + 1/poly(n).",
    "[Tensor] Definition 5.1, Theorem 5.3",
    f"The distortion of the law, sqrt(sum (q - P)² / P), is at most ε = {EPSILON} (±3 standard deviations of its square) for all "
    f"vectors with {BUCKETS} buckets or more; failures are as rare as promised (binomial tests, 10^{{-4}} in all; not decided when fewer than 10 "
    "would be granted).",
    (45, 240), measure, judge, show)


def measure_audit(bench):
    options = ["--threads", 2, "--significance", "2e-6", *bench.pick(["--quick", "--seconds", 2], ["--seconds", 10])]
    bench.part("audit", lambda: bench.experiment("weir_audit", *options))


def all_checks(parts):
    return [(row["line"], check) for row in parts["audit"]["lines"] for check in row["checks"]]


def count(checks, verdict):
    return sum(check["verdict"] == verdict for _, check in checks)


def judge_audit(parts):
    checks = all_checks(parts)
    broken = [(name, check) for name, check in checks if check["verdict"] == "no"]
    few = count(checks, "few")
    sentence = (f"Of {len(checks)} promises about printed numbers {len(checks) - len(broken) - few} are kept, {few} agree with too few "
                f"numbers to show them broken, and {len(broken)} are not kept")
    sentence += f": {broken[0][0]}: {broken[0][1]['check']}." if broken else "."
    if broken:
        verdict = Verdict.NO
    else:
        verdict = Verdict.UNDECIDED if not checks or few > len(checks) / 2 else Verdict.YES
    return [Check("Every printed number keeps its promise", verdict, sentence)]


def show_audit(parts):
    checks = all_checks(parts)
    kinds = list(dict.fromkeys(check["check"] for _, check in checks))
    rows = []
    for kind in kinds:
        mine = [one for one in checks if one[1]["check"] == kind]
        rows.append([kind, len(mine), count(mine, "yes"), count(mine, "wide"), count(mine, "few"), count(mine, "no")])
    points = {}
    for _, check in checks:
        if check["check"].endswith(" bound") and check.get("numbers"):
            where = points.setdefault(check["check"].removesuffix(" bound"), ([], []))
            where[0].append(check.get("independent_numbers") or check["numbers"])
            where[1].append(check["covered"])
    broken = [[name, check["check"], ", ".join(f"{key} {digits(value)}" for key, value in check.items()
                                               if isinstance(value, (int, float)) and not isinstance(value, bool))]
              for name, check in checks if check["verdict"] == "no"]
    out = [Figure(chart("", axis("independent numbers that were compared", True), axis("covered by their bounds", most=1.0),
                        [series(name, *points[name], line="none") for name in points], horizontal=[line(0.99, "promised: 0.99")]),
                  "Each point is a kind of vector or matrix, asked in one way: the share of its numbers that lie within the printed "
                  "bounds. At the left few numbers scatter widely."),
           Table(["promise", "lines", "kept", "kept, bound is wide", "too few to say", "not kept"], rows)]
    if broken:
        out.append(Table(["line", "promise", "numbers"], broken, "What is not kept."))
    out.append(Text("Bounds promise to cover the truth with probability 0.99, biases to be at most 0.005, laws to be distorted by at most "
                    "0.1, and false draws to be rarer than one in a million."))
    return out


AUDIT = Step(
    "audit", "Audit: does every printed number keep its promise?",
    "Values, probabilities, norms and moments that the program prints are within their bounds with probability 0.99, and unbiased; draws "
    "follow the law; failures are as rare as promised.",
    "[Tensor] Definition 5.1 and Algorithm 2, and the promises in weir's README",
    "The data reject no promise, each at a significance of 2·10^{-6}; not decided when more than half of them have too few numbers.",
    (60, 4500), measure_audit, judge_audit, show_audit)
