"""Draws from sketches of keys of real attention heads; streaming softmax attention."""

import json
import math

from figures import Figure, Picture, Table, Text, axis, chart, grid, line, series
from judging import Check, Verdict, combined, decide, digits, size_text, slope
from running import Step

EPSILON = 0.1
HEADS = ("layer1_head0", "layer2_head3")


def measure_draws(bench):
    bench.part("attention", lambda: bench.experiment("weir_attention", "apps/experiments/attention-data", *HEADS, "--seeds",
                                                     bench.pick(10, 200)))


def squared_distortion(row):
    """(the mean square relative distortion of the law, which may come out negative; its standard deviation when there is none)."""
    # Chi-squared exceeds its degrees of freedom by the number of draws times the squared distortion.
    return ((row["chi_squared"] - row["degrees_of_freedom"]) / row["draws"], math.sqrt(2 * row["degrees_of_freedom"]) / row["draws"])


def distortion(row):
    return math.sqrt(max(0.0, squared_distortion(row)[0]))


def judge_draws(parts):
    law = parts["attention"]["law"]
    verdicts = []
    for row in law:
        square, deviation = squared_distortion(row)
        verdicts.append(decide(square, EPSILON ** 2, 2 * deviation))
    worst = max(law, key=distortion)
    outside, draws = sum(row["outside"] for row in law), sum(row["draws"] for row in law)
    largest = [row for row in parts["attention"]["memory"] if row["n"] >= 1_000_000]
    smallest = [row for row in parts["attention"]["memory"] if row["n"] < 1_000_000]
    return [
        Check(f"Draws of tokens follow y² / |y|² within ε = {EPSILON} while keys stream in and out", combined(verdicts),
              f"Of {len(law)} sketches the largest distortion is {digits(distortion(worst), 2)} ({worst['head']}, {worst['buckets']:.0f} buckets; "
              f"{worst['draws']:,} draws); up to {digits(math.sqrt(2 * squared_distortion(worst)[1]), 2)} is chance."),
        Check("Tokens that have left the window are not drawn", decide(outside / draws, 1e-4),
              f"{outside} of {draws:,} draws are of tokens that have left; one in 10,000 is granted."),
        Check("The sketch is smaller than the keys and values from a million tokens on",
              decide(max(row["sketch_mib"] / row["cache_mib"] for row in largest), 1),
              f"It takes at most {digits(max(row['sketch_mib'] / row['cache_mib'] for row in largest), 2)} times their memory there; of "
              f"{smallest[0]['n']:,} tokens it takes up to {digits(max(row['sketch_mib'] / row['cache_mib'] for row in smallest), 2)} times."),
    ]


def show_draws(parts):
    held = parts["attention"]["held"]
    shown = {"with replacement": "with replacement", "without replacement": "without replacement", "uniform": "uniform",
             "largest |y|": "largest |y|", "largest softmax": "largest softmax"}
    charts = []
    for head in dict.fromkeys(row["head"] for row in held):
        for field, title in (("squared", "squared scores"), ("softmax", "softmax")):
            lines = []
            for row in held:
                if row["head"] != head or row["sampler"] not in shown:
                    continue
                counts = [s for s in (1, 2, 4, 8, 16, 32, 64, 128, 256) if s <= len(row[field])]
                lines.append(series(shown[row["sampler"]], counts, [row[field][s - 1] for s in counts]))
            charts.append(chart(f"{head}: {title}", axis("draws", True), axis("share that drawn tokens hold", unit="percent", least=0, most=1), lines))
    law = [[row["head"], f"{row['buckets']:.0f}", f"{row['draws']:,}", f"{row['total_variation']:.4f}", f"{row['exact_total_variation']:.4f}",
            digits(distortion(row), 2), f"{row['outside']}", f"{row['accepted']:.3f}"] for row in parts["attention"]["law"]]
    memory = [[f"{row['n']:,}", row["d"], row["samples"], row["replacement"], digits(row["sketch_mib"]), digits(row["cache_mib"]),
               digits(row["sketch_mib"] / row["cache_mib"])] for row in parts["attention"]["memory"]]
    return [Figure(grid("", charts), "What the distinct drawn tokens hold of the squared scores, by which they are drawn, and of the softmax, "
                   "by which they are not."),
            Table(["head", "B", "draws", "TV", "TV of exact draws", "distortion", "left the window", "accepted"], law,
                  "Keys of two real heads through a window of 1,024 tokens; 13 queries."),
            Table(["tokens", "d", "draws", "replacement", "sketch, MiB", "keys and values, MiB", "ratio"], memory)]


DRAWS = Step(
    "attention-draws", "Attention: draws from a sketch of keys",
    "For streaming keys A and queries x the sampler gives the important coordinates of A x in small space. How it behaves on real attention "
    "is left open.", "[Tensor] Theorem 5.7 and Section 8 (empirical question)",
    f"The squared distortion of the law is at most {EPSILON}² (±2 standard deviations); at most one draw in 10,000 is of a token that has "
    "left; from 10^{6} tokens on the sketch is smaller than keys and values in float16.",
    (20, 400), measure_draws, judge_draws, show_draws)

EXPERIMENTS = ("error_by_bytes", "features", "recovery_time", "sparsity", "limits")
NEEDED = 64 << 10


def measure_study(bench):
    folder = bench.scratch / "study"

    def run(name):
        options = bench.pick(["--quick"], [])
        bench.run([bench.program("apps/experiments/weir_attention_study"), "--program", bench.program("weir"), *options, "--only", name, "-o",
                   folder])
        numbers = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["parts"]
        pictures = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob(f"{name}*.svg"))}
        return {"parts": numbers, "pictures": pictures}

    for name in (*EXPERIMENTS, *bench.pick((), ("million",))):
        bench.part(name, lambda name=name: run(name))


def judge_bytes(parts):
    ratios = []
    for key, part in parts["error_by_bytes"]["parts"].items():
        runs = [run for run in part["runs"] if run["budget"] == NEEDED and run.get("error") is not None]
        ours = [run["error"] for run in runs if run["method"] == "anisotropic"]
        others = [(run["error"], run["method"]) for run in runs if run["method"] != "anisotropic"]
        if ours and others:
            ratios.append((min(others)[0] / ours[0], key, min(others)[1]))
    least = min(ratios)
    return Check(f"At {size_text(NEEDED)} the state of 'weir attend' has a smaller error than all that it is compared with", decide(1, least[0]),
                 f"On {len(ratios)} heads, all queries or causal, the best of the others has {digits(least[0])} to {digits(max(ratios)[0])} times "
                 f"its error (least: {least[1]}, {least[2]}).")


def judge_bound(parts):
    bounded = [run for part in parts["features"]["parts"].values() for run in part["taylor"]
               if run.get("bound") is not None and run.get("largest") is not None]
    if not bounded:
        return Check("Errors of polynomial features stay below their bound", Verdict.UNDECIDED, "No case here has a bound.")
    over = [run["largest"] / run["bound"] for run in bounded]
    return Check("Errors of polynomial features stay below their bound 2 delta / (1 - delta)", decide(max(over), 1),
                 f"In {len(bounded)} cases the largest error of an output is at most {digits(max(over), 2)} times the bound; "
                 f"{sum(len(part['taylor']) for part in parts['features']['parts'].values()) - len(bounded)} cases have none, as delta is 1 or more.")


def judge_recovery(parts):
    rows = [row for key, row in parts["recovery_time"]["parts"].items() if key.startswith("n/")]
    exponent = slope([row["n"] for row in rows], [row["candidates"] + row["decoding"] for row in rows])
    last = max(rows, key=lambda row: row["n"])
    return Check("Recovering the k largest outputs takes time n^{o(1)}", decide(exponent, 0.3, 0.1),
                 f"The time of recovery grows as n to the power {digits(exponent, 2)} (0.3 is granted): nearly all of it goes into the candidates, which are "
                 f"looked for among all n; decoding alone takes {digits(last['decoding'] / (last['candidates'] + last['decoding']), 2)} of it at "
                 f"n = {last['n']:,}.")


def judge_sparsity(parts):
    missed = {}
    for head, part in parts["sparsity"]["parts"].items():
        for point in part["points"]:
            if point["k"] == 32 and head != "planted":
                missed[head] = point["columns"]
    worst = max(missed, key=missed.get)
    return Check("Columns of the outputs are nearly sparse (k = 32)", decide(missed[worst], 0.5),
                 f"The best 32 entries of a column miss {missed[worst]:.0%} of its norm on {worst}, and {min(missed.values()):.0%} on the best of "
                 f"{len(missed)} heads; half is granted.")


def judge_estimates(parts):
    covered = [(run["covered"], key) for key, part in parts["limits"]["parts"].items()
               for run in part.values() if isinstance(run, dict) and run.get("covered") is not None]
    least = min(covered)
    return Check("Three times the printed estimate covers the error of 99% of the queries, also where it is not good", decide(0.99, least[0]),
                 f"In {len(covered)} hard cases it covers {digits(100 * least[0])}% of them or more (least: {least[1]}).")


def judge_study(parts):
    return [judge_bytes(parts), judge_bound(parts), judge_recovery(parts), judge_sparsity(parts), judge_estimates(parts)]


CAPTIONS = {
    "error_by_bytes.svg": "Relative error (Frobenius) against bytes, all queries at once.", "error_by_bytes_causal.svg": "The same, causal.",
    "features.svg": "How many features an error needs, for scores in [-R, R].", "recovery_time.svg": "Time to recover the k largest outputs.",
    "sparsity.svg": "What the best k entries of the outputs miss.", "limits.svg": "Where it is not good, and what its estimates say there.",
    "million.svg": "A million tokens, on two ranks."}


def show_study(parts):
    out = [Text("Heads are made, as the repository holds none with values: an ordinary one, a peaked one, and one of 64 numbers.")]
    for part in parts.values():
        out += [Picture(svg, CAPTIONS.get(name, name)) for name, svg in part["pictures"].items()]
    return out


STUDY = Step(
    "attention-study", "Attention: softmax attention from a state of fixed size",
    "In one pass and o(n) space each column of the outputs is approximated within (1 + ε_{1}) of the best k-sparse column, plus ε_{2}, and "
    "decoded in time k n^{o(1)} / ε_{1}: by a polynomial of low rank, sketches, and sparse recovery.",
    "[Attention] the main theorem, and Lemma 3.1 (the polynomial). 'weir attend' has features of its own besides",
    "At 64 KiB the error is below that of every other method on every head; errors are below the bound where there is one; time of recovery grows "
    "as n to at most 0.3 (±0.1); the best 32 entries of a column miss at most half of its norm; estimates cover 99%.",
    (40, 500), measure_study, judge_study, show_study)
