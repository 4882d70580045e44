"""The reductions by which the paper bounds space from below, played by Alice and Bob on two ranks."""

import math

from figures import Figure, Table, axis, chart, curve, grid, line, series
from judging import Check, Verdict, combined, decide, digits
from running import Step

SURE = 4  # standard errors


def play(bench, protocol, n, trials, *options):
    answer = bench.weir("protocol", protocol, "--n", n, "--trials", trials, *options, ranks=2)
    return {key: answer[key] for key in ("method", "n", "trials", "message_bytes", "success", "standard_error")}


def bits(row):
    return 8 * row["message_bytes"]


def measure_softmax(bench):
    for n in bench.pick((256, 1024, 4096), (256, 1024, 4096, 16384, 65536)):
        for share in (0.125, 0.25, 0.5, 0.75, 1):
            key = f"exponential/{n}/{share:g}"
            bench.part(key, lambda n=n, share=share: {**play(bench, "set-disjointness", n, bench.pick(100, 1000), "--bytes",
                                                             int(8 * n * share)), "kept": int(n * share)})
    for method, least in (("l2", 6144), ("heavy-hitters", 768)):
        for n in bench.pick((256, 1024), (256, 1024, 4096)):
            for size in bench.pick((1, 8), (0.5, 1, 2, 4, 8, 16, 32)):
                # Tables are powers of two.
                room = max(least, int(8 * n * size))
                bench.part(f"{method}/{n}/{size}", lambda method=method, n=n, room=room: play(
                    bench, "set-disjointness", n, bench.pick(50, 400), "--method", method, "--bytes", room))


def of_method(parts, method):
    return [row for row in parts.values() if row["method"] == method]


def judge_theory(rows, expected, what):
    """Whether successes are what follows from what was kept."""
    off = [abs(row["success"] - expected(row)) / row["standard_error"] for row in rows]
    # With two thirds of a standard error for the smoothing of it.
    verdict = Verdict.YES if max(off) <= SURE else Verdict.NO
    return Check(f"Success falls with what is kept: {what}", verdict,
                 f"All {len(rows)} shares of right answers are within {digits(max(off), 2)} standard errors of the curve.")


def judge_wall(rows, bits_needed, what):
    """Whether nothing succeeds with fewer bits than that. It agrees with a lower bound, and cannot prove it."""
    surely = [row for row in rows if row["success"] - SURE * row["standard_error"] > 0.75]
    below = [row for row in surely if bits(row) < bits_needed(row)]
    likely = [row for row in rows if row["success"] >= 0.75]
    least = min(likely, key=lambda row: bits(row) / row["n"], default=None)
    verdict = Verdict.NO if below else Verdict.YES if surely else Verdict.UNDECIDED
    text = (f"The shortest message with a success of 0.75 has {digits(bits(least) / least['n'])} bits for each bit of Alice's input "
            f"({least['method']}, n = {least['n']:,})" if least else "No message reaches a success of 0.75")
    return Check(what, verdict, f"{text}; {len(below)} of {len(rows)} games were won with fewer bits than the bound. This agrees with the "
                 "theorem; it proves nothing about other methods.")


LEAST_POWER = 0.7  # headers of messages make short ones longer, and tables are powers of two


def judge_linear(rows):
    """Of the messages that reach 0.75, the shortest grows nearly in proportion to n."""
    what = "The shortest message that succeeds grows nearly in proportion to n"
    # The shortest that may have reached 0.75, and the shortest that surely has, at two standard errors.
    first, sure = {}, {}
    for row in rows:
        for shortest, success in ((first, row["success"] + 2 * row["standard_error"]), (sure, row["success"] - 2 * row["standard_error"])):
            if success >= 0.75:
                shortest[row["n"]] = min(bits(row), shortest.get(row["n"], math.inf))
    if len(sure) < 2:
        return Check(what, Verdict.UNDECIDED, "Too few messages succeed.")
    low, high = min(sure), max(sure)
    least, most = (math.log(ratio) / math.log(high / low) for ratio in (first[high] / sure[low], sure[high] / first[low]))
    return Check(what, decide(LEAST_POWER, (least + most) / 2, (most - least) / 2),
                 f"From n = {low:,} to {high:,} it grows as n to a power between {digits(least, 2)} and {digits(most, 2)}, as far as the number "
                 f"of games tells; {LEAST_POWER} is asked for.")


def judge_softmax(parts):
    kept = of_method(parts, "exponential")
    return [judge_wall(list(parts.values()), lambda row: row["n"], "No method wins with fewer than n bits"),
            judge_linear(list(parts.values())),
            judge_theory(kept, lambda row: 0.5 + row["kept"] / (2 * row["n"]), "1/2 + kept / (2n) for y that is cut off")]


NAMES = {"exponential": "y itself, cut off", "l2": "l2 sampler", "heavy-hitters": "largest entries", "truncate": "first columns",
         "fold": "columns folded"}


def game_chart(title, rows, theory):
    out = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = sorted((row for row in rows if row["method"] == method), key=bits)
        success = [row["success"] for row in mine]
        error = [2 * row["standard_error"] for row in mine]
        out.append(series(NAMES.get(method, method), [bits(row) for row in mine], success, low=[max(0, s - e) for s, e in zip(success, error)],
                          high=[min(1, s + e) for s, e in zip(success, error)], line="none"))
    out.append(curve("theory of what is cut off", *theory, colour=6))
    n = rows[0]["n"]
    return chart(title, axis("bits of the message", True), axis("share of right answers", least=0.3, most=1.05), out,
                 horizontal=[line(0.75, "0.75"), line(0.5, "a coin")], vertical=[line(n, "n bits")])


def game_table(rows):
    return Table(["method", "n", "message, bits", "bits / n", "games", "success", "± (1 s.e.)"],
                 [[NAMES.get(row["method"], row["method"]), f"{row['n']:,}", f"{bits(row):,}", digits(bits(row) / row["n"]), row["trials"],
                   f"{row['success']:.3f}", f"{row['standard_error']:.3f}"] for row in rows])


def show_softmax(parts):
    charts = []
    for n in dict.fromkeys(row["n"] for row in parts.values()):
        rows = [row for row in parts.values() if row["n"] == n]
        whole = max((bits(row) for row in rows if row["method"] == "exponential"), default=64 * n)
        shares = [k / 40 for k in range(1, 41)]
        charts.append(game_chart(f"n = {n:,}", rows, ([share * 64 * n + (whole - 64 * n) for share in shares],
                                                     [0.5 + share / 2 for share in shares])))
    return [Figure(grid("", charts, columns=3 if len(charts) % 2 else 2, share_y=True, chart_height=230),
                   "Alice sends her state, Bob adds his stream, draws, and asks her about what he drew. Bars are two standard errors. The curve "
                   "is 1/2 + kept / (2n): what is cut off cannot be found."),
            game_table(list(parts.values()))]


SOFTMAX = Step(
    "softmax", "Softmax collapses: draws by exp(y) need all of y",
    "Whatever draws i with probability in proportion to exp(y_{i}), even up to a factor n^{C}, needs Ω(n) bits, as it would solve "
    "set-disjointness.", "[Tensor] Theorem 4.4, by Theorem 4.3",
    "No game is won significantly (4 standard errors) more often than 0.75 with a message of fewer than n bits; the shortest message with a "
    f"success of 0.75 grows as n to a power of at least {LEAST_POWER} (±2 standard errors of the successes); successes of the "
    "truncated y are within 4 standard errors of 1/2 + kept / (2n).",
    (60, 1500), measure_softmax, judge_softmax, show_softmax)

COLUMN = 3 * 16 * 8 * 8  # bytes of the sketch of a column


def measure_index(bench):
    trials = bench.pick(100, 1000)
    for d in bench.pick((16, 48), (16, 64, 256)):
        for share in (0.25, 0.5, 0.75, 1):
            kept = int(d * share)
            for method in ("truncate", "fold"):
                if method == "fold" and share == 1:
                    continue
                bench.part(f"index/{method}/{d}/{kept}", lambda d=d, kept=kept, method=method: {
                    **play(bench, "index", d, trials, "--method", method, "--bytes", kept * COLUMN), "kept": kept, "protocol": "index"})
    for n in bench.pick((16,), (16, 32, 64)):
        for share in (0.25, 0.5, 0.75, 1):
            kept = int(n * share)
            bench.part(f"tensor-index/{n}/{kept}", lambda n=n, kept=kept: {
                **play(bench, "tensor-index", n, trials, "--bytes", kept * COLUMN), "kept": kept, "protocol": "tensor-index"})


def of_protocol(parts, protocol):
    return [row for row in parts.values() if row["protocol"] == protocol]


def expected_index(row):
    if row["protocol"] == "index":
        return 0.5 + row["kept"] / (2 * row["n"])
    return 0.5 + (row["kept"] - 1) / (row["n"] - 1) / 2  # its index is not 0


def judge_index(parts):
    index, tensor = of_protocol(parts, "index"), of_protocol(parts, "tensor-index")
    truncated = [row for row in index if row["method"] == "truncate"]
    return [judge_wall(index, lambda row: row["n"], "Index: no method wins with fewer than d bits"),
            judge_theory(truncated, expected_index, "1/2 + kept / (2d) for the first columns of A"),
            judge_wall(tensor, lambda row: row["n"], "Tensor index: nothing wins with fewer than n bits"),
            judge_theory(tensor, expected_index, "1/2 + (kept - 1) / (2 (n - 1)) for A ⊗ A")]


def show_index(parts):
    charts = []
    for protocol, title in (("index", "A x, d"), ("tensor-index", "(A ⊗ A) x, n")):
        rows_of = of_protocol(parts, protocol)
        for n in dict.fromkeys(row["n"] for row in rows_of):
            rows = [row for row in rows_of if row["n"] == n]
            cut = sorted((row for row in rows if row["method"] == "truncate"), key=bits)
            charts.append(game_chart(f"{title} = {n}", rows, ([bits(row) for row in cut], [expected_index(row) for row in cut])))
    return [Figure(grid("", charts, columns=3, share_y=True, chart_height=230),
                   "Bob wants one bit of Alice. Her bits are the diagonal of A. She keeps the sketches of some columns, or of columns added up "
                   "in as many (folded). Bars are two standard errors."), game_table(list(parts.values()))]


INDEX = Step(
    "lower-bounds", "Lower bounds: bits of an index need all columns",
    "Whatever draws from A x when A and x both stream needs Ω(d) space, and from A^{⊗p} x Ω(n) bits, as it would solve the index "
    "problem.", "[Tensor] Lemmas 6.2 and 6.3, by Theorem 6.1",
    "No game is won significantly (4 standard errors) more often than 0.75 with a message of fewer than d (or n) bits; successes with the "
    "first columns are within 4 standard errors of 1/2 + kept / (2d).",
    (60, 900), measure_index, judge_index, show_index)
