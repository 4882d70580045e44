"""Static against dynamic: what an event costs by what streams, and streaming against computing anew."""

from figures import Figure, Table, axis, chart, grid, series
from inputs import write_lines, write_npy
from judging import Check, Verdict, decide, digits, duration, ratio_of
from running import Step

# What streams: the theorem, and a name.
CASES = {"x": "x streams, A is fixed (5.5)", "A": "A streams, x is fixed (5.3)", "both, A": "both stream: an event of A (5.7)",
         "both, x": "both stream: an event of x (5.7)"}
GRANTED = 3  # a cost that does not depend on a size may differ by that: caches, and other work on the machine


def sizes(bench):
    """(n, d): n grows at one d, and d at one n."""
    by_n = [(n, 16) for n in bench.pick((1 << 10, 1 << 13, 1 << 16), (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18))]
    by_d = [(1 << 13, d) for d in bench.pick((4, 64), (2, 4, 8, 32, 64, 128))]
    return by_n + by_d


def measure(bench):
    path = bench.scratch
    few, many = 1000, bench.pick(1_000_000, 10_000_000)
    entries = bench.pick(300_000, 2_000_000)
    weir = bench.program("weir")

    def seconds(*arguments):
        """Of the stream and of the question, the two least of several runs: what the machine does besides only adds."""
        runs = [bench.weir("sample", "--model", "product", "--seed", 1, *arguments)["seconds"] for _ in range(bench.pick(5, 9))]
        return sorted(run["ingest"] for run in runs)[:2], sorted(run["query"] for run in runs)[:2]

    def prepare(n, d):
        write_npy(path / "A.npy", n, d, seed=1)
        write_lines(path / "x.txt", [k % 7 - 3 for k in range(d)])
        write_lines(path / "one-A.csv", ["A,0,0,1"])  # nothing can be drawn from zero
        write_lines(path / "one-x.csv", ["x,0,1"])
        bench.run([weir, "generate", "flat", "--operand", "x", "--n", d, "--events", many, "--seed", 2, "-o", path / "x.bin"])
        bench.run([weir, "generate", "flat", "--operand", "x", "--n", d, "--events", few, "--seed", 2, "-o", path / "x-few.bin"])
        bench.run([weir, "generate", "flat", "--operand", "A", "--n", n, "--d", d, "--events", entries, "--seed", 3, "-o", path / "A.bin"])

    def case(n, d):
        prepare(n, d)
        shape = ["--n", n, "--d", d]
        fixed_a = ["--fixed", f"A={path / 'A.npy'}", "--no-verify"]
        out = {"n": n, "d": d}
        ingest, _ = seconds(*fixed_a, path / "x.bin")
        out["x"] = [time / many for time in ingest]
        ingest, _ = seconds(*shape, "--fixed", f"x={path / 'x.txt'}", path / "A.bin")
        out["A"] = [time / entries for time in ingest]
        ingest, _ = seconds(*shape, path / "one-x.csv", path / "A.bin")
        out["both, A"] = [time / entries for time in ingest]
        ingest, _ = seconds(*shape, path / "one-A.csv", path / "x.bin")
        out["both, x"] = [time / many for time in ingest]
        return out

    def question(n, d):
        """A draw from the sketches, and from A and x themselves, which are multiplied for it."""
        prepare(n, d)
        streams = [path / "A.bin", path / "x-few.bin"]
        _, sketch = seconds("--n", n, "--d", d, *streams)
        _, exact = seconds("--n", n, "--d", d, "--sampler", "exact", *streams)
        return {"n": n, "d": d, "sketch": sketch, "exact": exact}

    def same(seed):
        """A stream that changes its mind, against one that says only what is left; and against the exact product."""
        n, d = 5000, 8
        bench.run([weir, "generate", "insert-delete", "--operand", "A", "--n", n, "--d", d, "--events", bench.pick(40_001, 400_001),
                   "--survivors", 2001, "--seed", seed, "--final-vector", path / "left.csv", "-o", path / "all.csv"])
        write_lines(path / "change.csv", [f"x,{k % d},{k % 5 - 2}" for k in range(3 * d)])
        options = ["sample", "--model", "product", "--n", n, "--d", d, "--seed", seed, "--samples", 16]
        streamed = bench.weir(*options, "--exact-check", path / "all.csv", path / "change.csv")
        anew = bench.weir(*options, path / "left.csv", path / "change.csv")
        plain = [{key: value for key, value in draw.items() if key != "exact"} for draw in streamed["samples"]]
        inside = sum(abs(draw["value"] - draw["exact"]["value"]) <= draw["value_bound"] for draw in streamed["samples"])
        return {"same": plain == anew["samples"] and streamed["norm"] == anew["norm"], "draws": len(plain), "inside": inside,
                "events": streamed["updates"], "left": anew["updates"]}

    for n, d in sizes(bench):
        bench.part(f"event/{n}/{d}", lambda n=n, d=d: case(n, d))
    for n in bench.pick((1 << 14, 1 << 18, 1 << 21), (1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22)):
        bench.part(f"question/{n}", lambda n=n: question(n, 16))
    for seed in range(1, bench.pick(3, 11)):
        bench.part(f"same/{seed}", lambda seed=seed: same(seed))


def of_kind(parts, kind):
    return [part for key, part in parts.items() if key.startswith(kind + "/")]


def judge_growth(parts, kind, along, claim):
    rows = of_kind(parts, "event")
    other = "d" if along == "n" else "n"
    # The value of the other size at which most was measured.
    at = max({row[other] for row in rows}, key=lambda value: sum(row[other] == value for row in rows))
    mine = sorted((row for row in rows if row[other] == at), key=lambda row: row[along])
    first, last = mine[0], mine[-1]
    ratio, uncertainty = ratio_of(last[kind], first[kind])
    return Check(f"{CASES[kind]}: {claim}", decide(ratio, GRANTED, uncertainty),
                 f"While {along} grows {digits(last[along] / first[along])}-fold, an event goes from {duration(first[kind][0])} to "
                 f"{duration(last[kind][0])}: {digits(ratio)} times (±{digits(uncertainty, 2)}); {GRANTED} are granted.")


def judge(parts):
    same = of_kind(parts, "same")
    draws, inside = sum(row["draws"] for row in same), sum(row["inside"] for row in same)
    question = max(of_kind(parts, "question"), key=lambda row: row["n"])
    ratio, uncertainty = ratio_of(question["exact"], question["sketch"])
    return [
        Check("A stream of changes gives what its result gives at once", Verdict.YES if all(row["same"] for row in same) else Verdict.NO,
              f"{sum(row['same'] for row in same)} of {len(same)} streams with {same[0]['events']:,} events give the same draws and norm, "
              f"bit for bit, as the {same[0]['left']:,} events that are left of them; {inside} of {draws} values are within their bounds of "
              "the exact ones."),
        judge_growth(parts, "x", "n", "O(1), whatever n"), judge_growth(parts, "x", "d", "O(1), whatever d"),
        judge_growth(parts, "A", "n", "poly(log n)"), judge_growth(parts, "A", "d", "here O(1) for an entry, whatever d"),
        judge_growth(parts, "both, A", "n", "poly(log n)"), judge_growth(parts, "both, A", "d", "whatever d"),
        judge_growth(parts, "both, x", "n", "O(1), whatever n"),
        Check("A question to the sketch is faster than computing y = A x anew", decide(1, ratio, uncertainty),
              f"At n = {question['n']:,}, d = {question['d']} the sketch takes {duration(question['sketch'][0])}, and A x with a "
              f"draw {duration(question['exact'][0])}: {digits(ratio)} (±{digits(uncertainty, 2)}) times as long."),
    ]


def show(parts):
    rows = of_kind(parts, "event")
    charts = []
    for along, other in (("n", "d"), ("d", "n")):
        at = max({row[other] for row in rows}, key=lambda value: sum(row[other] == value for row in rows))
        mine = sorted((row for row in rows if row[other] == at), key=lambda row: row[along])
        charts.append(chart(f"{other} = {at:,}", axis(along, True), axis("time of an event", True, "seconds"),
                            [series(name, [row[along] for row in mine], [row[kind][0] for row in mine]) for kind, name in CASES.items()]))
    questions = sorted(of_kind(parts, "question"), key=lambda row: row["n"])
    asked = chart("", axis("n", True), axis("time of a question", True, "seconds"),
                  [series("sketch", [row["n"] for row in questions], [row["sketch"][0] for row in questions]),
                   series("A x anew", [row["n"] for row in questions], [row["exact"][0] for row in questions])])
    table = [[f"{row['n']:,}", row["d"], *(duration(row[kind][0]) for kind in CASES)] for row in rows]
    return [Figure(grid("", charts, share_y=True), "Time of one event, of one rank, reading included: the least of the runs."),
            Figure(asked, f"Time of a question for 8 draws after both operands streamed, d = {questions[0]['d']}: from their sketches, and by "
                   "multiplying A and x, which are then kept whole."),
            Table(["n", "d", *CASES.values()], table)]


UPDATES = Step(
    "updates", "Static against dynamic: what an update costs, and whether it computes the same",
    "Where A is fixed and x streams an update takes O(1); where A streams it takes d poly(1/ε, log n), and where both stream "
    "poly(1/ε, log n). Insertions and deletions leave what computing anew would give.",
    "[Tensor] Theorems 5.3, 5.5 and 5.7",
    f"Draws and norm are the same to the bit as those of the events that are left. A cost that a theorem calls independent of n or d grows "
    f"by a factor of at most {GRANTED} over the sizes here; the gap between the two fastest runs is the uncertainty. A question to the sketch is faster than a product of A and x at the largest n.",
    (60, 900), measure, judge, show)
