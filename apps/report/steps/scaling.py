"""The time of a question against n, and of a stream against the number of ranks."""

import concurrent.futures
import os

from figures import Figure, Table, axis, chart, curve, grid, line, series
from judging import Check, Verdict, combined, decide, digits, duration, size_text, slope
from running import Step

KINDS = {"zipf": "zipf", "flat": "flat"}


def measure_queries(bench):
    events = bench.pick(100_000, 1_000_000)

    def case(kind, power, levels):
        stream = bench.scratch / f"{kind}.bin"
        bench.run([bench.program("weir"), "generate", kind, "--n", 1 << power, "--events", events, "--seed", 1, "-o", stream])
        options = ["--levels", levels] if levels else []
        runs = [bench.weir("sample", "--n", 1 << power, "--seed", seed, *options, stream) for seed in range(1, bench.pick(4, 8))]
        sketch = runs[0]["sketch"]
        return {"kind": kind, "n": 1 << power, "power": power, "flat_search": levels == 1, "levels": sketch["levels"],
                "bytes": sketch["bytes"], "query": min(run["seconds"]["query"] for run in runs),
                "event": min(run["seconds"]["ingest"] for run in runs) / events}

    for kind in KINDS:
        for power in bench.pick((12, 16, 20, 23), (12, 14, 16, 18, 20, 22, 24, 26)):
            bench.part(f"{kind}/one level/{power}", lambda kind=kind, power=power: case(kind, power, 1))
        for power in bench.pick((20, 26, 33, 40), (20, 24, 28, 32, 36, 40, 44, 48)):
            bench.part(f"{kind}/levels/{power}", lambda kind=kind, power=power: case(kind, power, 0))


def of_queries(parts, kind, flat_search):
    return sorted((row for row in parts.values() if row["kind"] == kind and row["flat_search"] == flat_search), key=lambda row: row["n"])


def judge_queries(parts):
    out, exponents, shown = [], [], []
    for kind in KINDS:
        rows = of_queries(parts, kind, False)
        exponents.append(slope([row["n"] for row in rows], [row["query"] for row in rows]))
        shown.append(f"{digits(exponents[-1], 2)} ({kind}, {duration(rows[0]['query'])} at 2^{{{rows[0]['power']}}}, "
                     f"{duration(rows[-1]['query'])} at 2^{{{rows[-1]['power']}}})")
    out.append(Check("With groups of indices a question takes time far below n",
                     combined(decide(exponent, 0.5, 0.1) for exponent in exponents),
                     f"The time of a question grows as n to the power {' and '.join(shown)}; 0.5 is granted."))
    rows = [row for kind in KINDS for row in of_queries(parts, kind, True) if row["power"] >= 16]
    single = [slope([row["n"] for row in rows if row["kind"] == kind], [row["query"] for row in rows if row["kind"] == kind]) for kind in KINDS]
    out.append(Check("Without them it looks at all n indices", combined(decide(0.6, exponent, 0.1) for exponent in single),
                     f"With one level the time grows as n to the power {' and '.join(digits(one, 2) for one in single)}; 1 is expected."))
    sized = of_queries(parts, "zipf", True)[0], of_queries(parts, "zipf", False)[-1]
    ratio, powers = sized[1]["bytes"] / sized[0]["bytes"], sized[1]["power"] / sized[0]["power"]
    out.append(Check("Space is poly(log n)", decide(ratio, powers ** 3),
                     f"From n = 2^{{{sized[0]['power']}}} to 2^{{{sized[1]['power']}}} the sketch grows from {size_text(sized[0]['bytes'])} to "
                     f"{size_text(sized[1]['bytes'])}, {digits(ratio)} times; log(n)³ grows {digits(powers ** 3)} times."))
    return out


def show_queries(parts):
    charts = []
    for kind in KINDS:
        both = [(name, of_queries(parts, kind, flat)) for name, flat in (("one level: all indices", True), ("levels, as weir chooses", False))]
        charts.append(chart(f"{kind} ids", axis("n", True), axis("time of a question for 8 draws", True, "seconds"),
                            [series(name, [row["n"] for row in rows], [row["query"] for row in rows]) for name, rows in both]))
    table = [[row["kind"], f"2^{{{row['power']}}}", row["levels"], size_text(row["bytes"]), duration(row["event"]), duration(row["query"])]
             for row in parts.values()]
    return [Figure(grid("", charts, share_y=True), "The least of several runs, one rank."),
            Table(["ids", "n", "levels", "sketch", "an event", "a question"], table)]


QUERIES = Step(
    "queries", "Query time against n",
    "A state of poly(1/ε, log n) bits answers at all times. The paper bounds space and update time only; a question that looks at "
    "all n indices takes time in proportion to n, and weir's groups of indices avoid that.",
    "[Tensor] Definition 5.1, Theorem 5.3",
    "With the levels that weir chooses, time grows as n to a power of at most 0.5 (±0.1) from n = 2^{20} on; with one level, as a power of 0.6 "
    "or more (±0.1) from 2^{16} on; bytes grow by at most the third power of log n.",
    (30, 300), measure_queries, judge_queries, show_queries)


def measure_ranks(bench):
    n, events = 1 << 20, bench.pick(4_000_000, 60_000_000)

    def streams():
        whole, halves = bench.scratch / "whole.bin", [bench.scratch / f"half-{k}.bin" for k in (1, 2)]
        bench.run([bench.program("weir"), "generate", "zipf", "--n", n, "--events", events, "--seed", 1, "-o", whole])
        for k, half in enumerate(halves):
            bench.run([bench.program("weir"), "generate", "zipf", "--n", n, "--events", events // 2, "--seed", k + 1, "-o", half])
        return whole, halves

    def turn():
        """One run of each, one after the other, so that what else the machine does hits all alike."""
        whole, halves = streams()
        out = {"cores": len(os.sched_getaffinity(0)), "seconds": {}, "answers": []}

        def sample(stream, ranks):
            return bench.weir("sample", "--n", n, "--seed", 5, "--samples", 8, stream, ranks=ranks)

        for ranks in (1, 2, 4):
            answer = sample(whole, ranks)
            out["seconds"][str(ranks)] = answer["seconds"]["ingest"]
            out["answers"].append([answer["norm"], answer["updates"], [[draw["index"], draw["value"]] for draw in answer["samples"]]])
            out.setdefault("merge", {})[str(ranks)] = answer["seconds"]["merge"]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda half: sample(half, 1), halves))
        out["seconds"]["two jobs"] = max(answer["seconds"]["ingest"] for answer in both)
        return out

    for repetition in range(bench.pick(3, 5)):
        bench.part(f"turn/{repetition + 1}", turn)


def least(parts, which):
    return min(part["seconds"][which] for part in parts.values())


def judge_ranks(parts):
    first = next(iter(parts.values()))["answers"][0]
    answers = [answer for part in parts.values() for answer in part["answers"]]
    same = sum(answer == first for answer in answers)
    one, two, jobs = least(parts, "1"), least(parts, "2"), least(parts, "two jobs")
    speedup = one / two
    # Of a machine that is quiet two jobs of half the work take half the time.
    is_quiet = jobs <= 1.1 * one / 2
    verdict = decide(1.7, speedup, 0.05) if is_quiet or speedup >= 1.75 else Verdict.UNDECIDED
    because = "" if is_quiet else (f" Two separate jobs with half of the stream each took {duration(jobs)} at best, so the machine had no two "
                                   "free cores.")
    return [
        Check("The answer is the same to the bit on any number of ranks", Verdict.YES if same == len(answers) else Verdict.NO,
              f"{same} of {len(answers)} runs on 1, 2 and 4 ranks give the same norm, draws and values."),
        Check("Two ranks are as fast as two separate jobs with half of the stream each", decide(two / jobs, 1.15, 0.1),
              f"Two ranks take {duration(two)}, the slower of two separate jobs {duration(jobs)}: {digits(two / jobs)} times as long."),
        Check("Two ranks are 1.7 times as fast as one", verdict,
              f"One rank takes {duration(one)}, two take {duration(two)}: {digits(speedup)} times as fast.{because}"),
    ]


def show_ranks(parts):
    cores = max(part["cores"] for part in parts.values())
    one = least(parts, "1")
    rows, x, y = [], [], []
    for ranks in ("1", "2", "4"):
        seconds = least(parts, ranks)
        x.append(int(ranks))
        y.append(seconds)
        merge = min(part["merge"][ranks] for part in parts.values())
        rows.append([ranks + (" (oversubscribed)" if int(ranks) > cores else ""), duration(seconds), digits(one / seconds), duration(merge)])
    rows.append(["two separate jobs, half of the stream each", duration(least(parts, "two jobs")), digits(one / least(parts, "two jobs")), "\u2013"])
    figure = chart("", axis("ranks", least=0.5, most=4.5), axis("time of the stream", True, "seconds"),
                   [series("ranks", x, y), curve("in proportion", x, [one / ranks for ranks in x], colour=6),
                    series("two separate jobs", [2], [least(parts, "two jobs")], line="none")],
                   vertical=[line(cores, f"{cores} core{'s' * (cores != 1)}")])
    return [Figure(figure, f"The least of {len(parts)} turns. More ranks than cores cannot be faster: points at the right of {cores} are "
                   "oversubscribed."),
            Table(["ranks", "time of the stream", "times as fast as one", "merge"], rows)]


RANKS = Step(
    "ranks", "Scaling over ranks",
    "Sketches are linear, so that a stream may be cut in any way: ranks work alone, and their states are added at the end.",
    "[Tensor] Theorems 5.3 to 5.7 by their linear sketches; the bits are a promise of weir",
    "All answers are equal. Two ranks take at most 1.15 (±0.1) times as long as two separate jobs that share the stream, and are 1.7 (±0.05) "
    "times as fast as one; the latter is not decided where two separate jobs show that two cores were not free.",
    (30, 300), measure_ranks, judge_ranks, show_ranks)
