"""Past these machines: a model of what 2 to 4,096 ranks cost, and counts of messages by which it is checked."""

import dataclasses
import os

import cost
import monitoring
from figures import Figure, Table, Text, axis, chart, curve, grid, line, series
from inputs import write_lines
from judging import Check, Verdict, combined, decide, digits, duration, size_text
from running import Step, load_average

N = 1 << 20
RANKS = [1 << k for k in range(1, 13)]
MOST = RANKS[-1]
# Options of weir sample for a table that is small, as weir chooses it, and large.
TABLES = {"small": ["--samples", 1, "--epsilon", 0.3], "default": [], "large": ["--buckets", 1 << 14, "--lanes", 64]}
RANKS_OF_A_NODE = 32  # assumed
MEMORY_OF_A_RANK = 8 << 30  # bytes, assumed
WINDOW = 60  # epochs, where the memory of a window is shown
FILES = 100  # that a checkpoint has positions of
SHARE = 0.05  # of the time, that merging may take
FACTOR = 3  # between a time of the model and one that was measured
COUNTED = {"few": 50_000, "many": 20_000}  # events of an epoch
BUCKETS = 1 << 12  # of the tables whose sums are counted
# Of Tench et al., the most that is published for linear sketches on several machines.
LANDSCAPE = {"machines": 40, "updates": 332e6}
SHOWN = [0, 2, 3, 5]  # of the networks, in charts


def measure(bench):
    weir, path = bench.program("weir"), bench.scratch
    events = bench.pick(2_000_000, 20_000_000)
    zipf, flat = path / "zipf.bin", path / "flat.bin"

    def prepare():
        if not zipf.exists():
            bench.run([weir, "generate", "zipf", "--n", N, "--events", events, "--seed", 1, "-o", zipf])
            bench.run([weir, "generate", "flat", "--n", N, "--events", 400_000, "--seed", 1, "-o", flat])

    def messages():
        numbers = bench.experiment("weir_messages", "--repetitions", bench.pick(100, 1000), "--tables", *sizes.values(), ranks=2)
        return {**numbers, "load": load_average(), "cores": len(os.sched_getaffinity(0))}

    def rate(name):
        prepare()
        runs = [bench.weir("sample", "--n", N, "--seed", 1, *TABLES[name], zipf) for _ in range(bench.pick(3, 7))]
        return {"bytes": runs[0]["sketch"]["bytes"], "event": min(run["seconds"]["ingest"] for run in runs) / events,
                "answer": min(run["seconds"]["query"] for run in runs)}

    def two_ranks():
        """Events a second of two ranks, each with its part of a file, and of a stream that comes in through rank 0 alone."""
        prepare()
        turns = range(bench.pick(3, 7))
        files = min(bench.weir("sample", "--n", N, "--seed", 1, zipf, ranks=2)["seconds"]["ingest"] for _ in turns)
        # The cheapest sketch, as the root's own work is to read and to hand out.
        live = min(bench.weir("query", "--n", N, "--seed", 1, "--norm", "-", ranks=2, stdin=zipf)["seconds"]["ingest"] for _ in turns)
        return {"files": events / files, "live": events / live}

    def counted(ranks, *arguments):
        """Messages of a job: of collective operations, of these those to rank 0, and of the program's own from and to rank 0."""
        prepare()
        folder = path / f"sent-{ranks}-{len(list(path.glob('sent-*')))}"
        folder.mkdir()
        bench.run([weir, *arguments], ranks=ranks, launcher=monitoring.options(folder))
        traffic = monitoring.read(folder)
        return {"collective": monitoring.total(traffic, True), "to root": monitoring.total(traffic, True, target=0),
                "out": monitoring.total(traffic, False, source=0), "in": monitoring.total(traffic, False, target=0)}

    def epochs(ranks):
        query = ["query", "--n", N, "--seed", 1, "--norm", "--buckets", BUCKETS]
        return {"ranks": ranks, "table": 5 * BUCKETS * 8,
                **{name: counted(ranks, *query, "--every", every, flat) for name, every in COUNTED.items()}}

    def ends(ranks):
        """The merge at the end of a stream: two sizes of a table, so that what else is sent falls out."""
        small, large = 1 << 17, 1 << 18
        query = ["query", "--n", N, "--seed", 1, "--norm", "--json"]
        return {"ranks": ranks, "tables": [5 * 8 * small, 5 * 8 * large],
                "counts": [counted(ranks, *query, "--buckets", buckets, flat) for buckets in (small, large)]}

    def distributed(ranks):
        """The same job, summed on the root and shared out, in turns; and the bytes of the latter, for two sizes of a table."""
        prepare()
        sample = ["sample", "--n", N, "--seed", 7, "--samples", 16, "--levels", 1]
        out = {"ranks": ranks, "cores": len(os.sched_getaffinity(0)), "same": True, "root": [], "distributed": []}
        for _ in range(bench.pick(2, 5)):
            answers = {}
            for way in ("root", "distributed"):
                answers[way] = bench.weir(*sample, "--merge", way, flat, ranks=ranks)
                out[way].append([answers[way]["seconds"]["merge"], answers[way]["seconds"]["query"]])
            out["same"] = out["same"] and all(answers["root"][field] == answers["distributed"][field] for field in ("samples", "norm", "norm_bound", "failed"))
        query = ["query", "--n", N, "--seed", 1, "--norm", "--json", "--merge", "distributed"]
        out["tables"] = [5 * 8 * buckets for buckets in (1 << 13, 1 << 12)]
        out["counts"] = [counted(ranks, *query, "--buckets", size // 40, flat)["collective"][0] for size in out["tables"]] if ranks > 1 else [0, 0]
        return out

    def positions():
        """Bytes of the reports of three ranks in an epoch with a checkpoint, of one file and of five."""
        out = {}
        for files in (1, 5):
            names = [path / f"part-{k}.csv" for k in range(files)]
            for name in names:
                write_lines(name, [f"{k % 1000},1" for k in range(30_000 // files)])
            run = ["query", "--n", N, "--seed", 1, "--norm", "--every", 10_000]
            plain = counted(3, *run, *names)
            saved = counted(3, *run, "--checkpoint", path / f"checkpoint-{files}", *names)
            out[str(files)] = [[count["in"][0], epochs_of(count, 3)] for count in (plain, saved)]
        return out

    def memory(ranks, window):
        prepare()
        watch = path / f"peaks-{ranks}-{window}"
        watch.mkdir()
        last = bench.epochs("query", "--n", N, "--seed", 1, "--norm", "--buckets", 1 << 18, "--every", 20_000, "--window", window, flat,
                            ranks=ranks, watch=watch)[-1]
        peaks = {file.name: int(file.read_text(encoding="ascii")) for file in watch.iterdir()}
        return {"ranks": ranks, "window": window, "table": last["sketch"]["bytes"], "root": peaks.pop("0"), "others": max(peaks.values())}

    sizes = {}
    for name in TABLES:
        sizes[name] = bench.part(f"rate/{name}", lambda name=name: rate(name))["bytes"]
    for turn in range(bench.pick(2, 5)):
        bench.part(f"messages/{turn + 1}", messages)
    bench.part("two ranks", two_ranks)
    for ranks in bench.pick((2, 3, 4, 16), (2, 3, 4, 5, 6, 7, 8, 12, 16)):
        bench.part(f"epochs/{ranks}", lambda ranks=ranks: epochs(ranks))
    for ranks in bench.pick((2, 16), (2, 3, 4, 5, 8, 12, 16)):
        bench.part(f"ends/{ranks}", lambda ranks=ranks: ends(ranks))
    for ranks in bench.pick((1, 2, 4), (1, 2, 3, 4)):
        bench.part(f"distributed/{ranks}", lambda ranks=ranks: distributed(ranks))
    bench.part("positions", positions)
    for ranks, window in ((2, 2), (2, 10), (8, 2)):
        bench.part(f"memory/{ranks}/{window}", lambda ranks=ranks, window=window: memory(ranks, window))


def of_kind(parts, kind):
    return [part for key, part in parts.items() if key.startswith(kind + "/")]


def epochs_of(count, ranks):
    """How many epochs were summed: the root sends each other rank 8 bytes at first, and 16 at the end of every epoch."""
    return (count["out"][0] / (ranks - 1) - 8) / 16


def node_of(parts, size, which=0):
    """Parameters inside of a node for a table of so many bytes: caches hold more of small ones. `which`: the least of the turns (0), or the
    second least (1)."""
    def least(name):
        return sorted(turn[name] for turn in of_kind(parts, "messages"))[which]

    def of_table(name):
        return times_of(parts, size, name)[which]
    return cost.Node(RANKS_OF_A_NODE, least("latency"), least("piece_seconds"), of_table("message_seconds_per_byte"), of_table("add_seconds_per_byte"),
                     least("letter_seconds") + least("report_seconds"), least("positions_seconds"))


def times_of(parts, size, name):
    """The two least of what the turns measured for a table."""
    return sorted(row[name] for turn in of_kind(parts, "messages") for row in turn["tables"] if row["bytes"] == size)[:2]


def size_of(parts, name):
    return parts[f"rate/{name}"]["bytes"]


def of_an_epoch(part):
    """What one epoch more sends, of the runs with few epochs and with many: (kind, bytes or messages) by name, and the epochs between them."""
    ranks = part["ranks"]
    more = epochs_of(part["many"], ranks) - epochs_of(part["few"], ranks)
    return {kind: [(many - few) / more for few, many in zip(part["few"][kind], part["many"][kind])] for kind in part["few"]}, more


def report_bytes(parts):
    """Of a report of a rank: without a checkpoint, and what the position of each file adds to it."""
    (plain, saved), (_, more) = (parts["positions"][files] for files in ("1", "5"))
    size = [count / epochs / 2 for count, epochs in (plain, saved, more)]  # of two ranks besides the root
    return size[0], (size[2] - size[1]) / 4


def judge_counts(parts):
    wrong = []
    for part in of_kind(parts, "epochs"):
        measured, _ = of_an_epoch(part)
        expected = cost.background_sum(part["ranks"], part["table"])
        if [*measured["collective"], measured["to root"][0]] != [expected.bytes, expected.messages, expected.bytes_to_root]:
            wrong.append(str(part["ranks"]))
    last = max(of_kind(parts, "epochs"), key=lambda part: part["ranks"])
    measured, _ = of_an_epoch(last)
    asked = len(of_kind(parts, "epochs"))
    return Check("Counted: the sum of an epoch sends what the model says, to the byte", Verdict.NO if wrong else Verdict.YES,
                 f"Bytes, messages and the bytes that come to rank 0 are equal for {asked - len(wrong)} of {asked} numbers of ranks"
                 + (f" (not for {', '.join(wrong)})" if wrong else "")
                 + f"; {last['ranks']} ranks send {digits(measured['collective'][0] / last['table'])} tables in "
                   f"{digits(measured['collective'][1])} messages, of which "
                 f"{digits(measured['to root'][0] / last['table'])} tables come to rank 0.")


def judge_ends(parts):
    equal = []
    for part in of_kind(parts, "ends"):
        (few, many), (small, large) = part["counts"], part["tables"]
        equal.append(many["collective"][0] - few["collective"][0] == cost.blocking_sum_bytes(part["ranks"], large - small))
    return Check("Counted: the merge at the end of a stream sends each rank's table once", Verdict.YES if all(equal) else Verdict.NO,
                 f"So it is, to the byte, for {sum(equal)} of {len(equal)} numbers of ranks from "
                 f"{min(part['ranks'] for part in of_kind(parts, 'ends'))} to "
                 f"{max(part['ranks'] for part in of_kind(parts, 'ends'))}.")


def judge_distributed(parts):
    rows = of_kind(parts, "distributed")
    equal = [row["counts"][0] - row["counts"][1] == cost.distributed_sum_bytes(row["ranks"], row["tables"][0] - row["tables"][1]) for row in rows]
    most = max(rows, key=lambda row: row["ranks"])
    ratios = [min(seconds[k] for seconds in most["distributed"]) / min(seconds[k] for seconds in most["root"]) for k in (0, 1)]
    return [
        Check("--merge distributed draws the same as --merge root", Verdict.YES if all(row["same"] for row in rows) else Verdict.NO,
              f"Draws, their values and bounds, and the norm are the same, bit for bit, for {sum(row['same'] for row in rows)} of "
              f"{len(rows)} numbers of ranks from 1 to {most['ranks']}. "
              f"With {most['ranks']} ranks it takes {digits(ratios[0])} times as long to merge and {digits(ratios[1])} times to answer, on "
              f"{most['cores']} cores."),
        Check("Counted: --merge distributed sends each rank's table twice", Verdict.YES if all(equal) else Verdict.NO,
              f"2 (P - 1) tables, to the byte, for {sum(equal)} of {len(equal)} numbers of ranks."),
    ]


def judge_letters(parts):
    """Besides those of epochs the root sends each rank three letters or four: its first share, that all is summed, a farewell, and that it
    hurries. It gets two or three: whether there is anything to read, a farewell, and that the rank's files are at their end."""
    fine, out, back = True, [], []
    for part in of_kind(parts, "epochs"):
        ranks = part["ranks"]
        for name in COUNTED:
            count, epochs = part[name], epochs_of(part[name], ranks)
            sent, came = (count[way][1] / (ranks - 1) for way in ("out", "in"))
            fine = fine and epochs == int(epochs) and 3 <= sent - epochs <= 4 and epochs + 2 <= came <= 2 * epochs + 3
            out.append((sent - 3) / epochs)
            back.append((came - 2) / epochs)
    return Check("Counted: letters grow in proportion to the ranks", Verdict.YES if fine else Verdict.NO,
                 f"For each epoch and rank the root posts {digits(min(out))} to {digits(max(out))} letters and gets {digits(min(back))} to "
                 f"{digits(max(back))}, on 2 to "
                 f"{max(part['ranks'] for part in of_kind(parts, 'epochs'))} ranks; 1, and 1 or 2 (a rank may wait, and say so) are "
                 f"expected, and up to two in the whole job besides.")


def judge_memory(parts):
    rows = {(part["ranks"], part["window"]): part for part in of_kind(parts, "memory")}
    short, long, many = rows[2, 2], rows[2, 10], rows[8, 2]
    tables = (long["root"] - short["root"]) / long["table"]
    others = (long["others"] - short["others"]) / long["table"]
    ranks = (many["root"] - short["root"]) / many["table"]
    return Check("Measured: a window takes one table an epoch, on the root alone, whatever the number of ranks",
                 combined([decide(abs(tables - 8), 0.8), decide(abs(others), 0.5), decide(ranks, 1)]),
                 f"From 2 to 10 epochs the peak of the root grows by {digits(tables)} tables of {size_text(long['table'])} (8 are "
                 f"expected), that of the other rank by "
                 f"{digits(others, 2)}; from 2 to 8 ranks that of the root grows by {digits(ranks, 2)} tables.")


def judge_times(parts):
    ratios, uncertainties = {}, []
    for name in TABLES:
        size = size_of(parts, name)
        for kind, model in (("background", cost.background_sum_seconds), ("blocking", cost.blocking_sum_seconds)):
            least, second = times_of(parts, size, kind)
            expected = model(2, size, node_of(parts, size), cost.NETWORKS[0])
            ratios[f"{size_text(size)}, {kind}"] = least / expected
            uncertainties.append((max(least / expected, expected / least), second / least - 1))
    worst, gap = max(uncertainties)
    verdict, because = decide(worst, FACTOR, worst * gap), ""
    quietest = min(of_kind(parts, "messages"), key=lambda turn: turn["load"] / turn["cores"])
    if verdict is Verdict.NO and quietest["load"] > quietest["cores"]:
        verdict = Verdict.UNDECIDED
        because = f" The machine was busy: a load average of {digits(quietest['load'], 2)} on {quietest['cores']} cores."
    return Check("Measured: a sum of two ranks takes what the model says", verdict,
                 "Sums take this many times what the model says: " + "; ".join(f"{name} {digits(ratio, 2)}" for name, ratio in ratios.items())
                 + f". A factor of {FACTOR} is granted. More ranks than cores cannot be timed here.{because}")


@dataclasses.dataclass(frozen=True)
class Costs:
    """Of one epoch on the root, in seconds."""

    letters: float
    total: float  # of the table
    slide: float
    positions: float
    answer: float

    @property
    def merging(self):
        return self.letters + self.total + self.slide


def costs(parts, name, ranks, network, which=0):
    rate = parts[f"rate/{name}"]
    node = node_of(parts, rate["bytes"], which)
    return Costs(cost.letters_seconds(ranks, node), cost.background_sum_seconds(ranks, rate["bytes"], node, network),
                 2 * rate["bytes"] * node.add_per_byte, cost.positions_seconds(ranks, FILES, node), rate["answer"])


def judge_model(parts):
    network = cost.NETWORKS[3]
    out = {name: costs(parts, name, MOST, network).merging for name in TABLES}
    second = {name: costs(parts, name, MOST, network, which=1).merging for name in TABLES}
    verdicts = [decide(out[name], SHARE, abs(second[name] - out[name])) for name in TABLES]
    return Check(f"Model, not measured: with {MOST:,} ranks merging takes at most {SHARE:.0%} of an epoch of one second", combined(verdicts),
                 ", ".join(f"{duration(seconds)} (±{duration(abs(second[name] - seconds))}) with the {name} table "
                           f"({size_text(size_of(parts, name))})"
                           for name, seconds in out.items())
                 + f", on {network.name}.")


def judge(parts):
    return [judge_counts(parts), judge_ends(parts), *judge_distributed(parts), judge_letters(parts), judge_memory(parts), judge_times(parts), judge_model(parts)]


def first_to_break(parts, network):
    """A column for each table: what each step costs in an epoch with a checkpoint and an answer, and its share; the largest; what helps."""
    columns, names = [], []
    for name in TABLES:
        table = size_of(parts, name)
        node = node_of(parts, table)
        each = costs(parts, name, MOST, network)
        steps = {"letters": each.letters, "sum of the table": each.total, "slide of the window": each.slide,
                 f"positions of {FILES} files": each.positions, "answer": each.answer}
        whole = sum(steps.values())
        worst = max(steps, key=steps.get)
        searchers = cost.search_ranks(MOST, N)
        helps = {"answer": f"--merge distributed: {searchers} ranks search, {duration(each.answer / searchers)}",
                 "letters": "longer epochs",
                 f"positions of {FILES} files": "checkpoints less often than answers (--checkpoint-every), fewer and longer files",
                 "sum of the table": f"longer epochs; --merge distributed: {duration(cost.distributed_sum_seconds(MOST, table, node, network))}"}
        memory = cost.root_bytes(MOST, table, WINDOW, report_bytes(parts)[0])
        names = [*steps, f"memory of the root, {WINDOW} epochs in a window", "breaks first", "what helps", "the largest without a checkpoint"]
        without = {step: seconds for step, seconds in steps.items() if not step.startswith("positions")}
        columns.append([*(f"{duration(seconds)}, {digits(100 * seconds / whole, 2)}%" for seconds in steps.values()),
                        f"{size_text(memory)}, {digits(100 * memory / MEMORY_OF_A_RANK, 2)}% of {size_text(MEMORY_OF_A_RANK)}", worst, helps.get(worst, "\u2013"),
                        f"{max(without, key=without.get)}: {helps.get(max(without, key=without.get), '')}"])
    return [[name, *(column[k] for column in columns)] for k, name in enumerate(names)]


def show(parts):
    rates = {name: 1 / parts[f"rate/{name}"]["event"] for name in TABLES}
    two = parts["two ranks"]
    network = cost.NETWORKS[3]
    x = [1, *RANKS]
    ingest = chart("", axis("ranks", True), axis("updates a second", True), [
        curve("model: files cut among the ranks, small table", x, [ranks * rates["small"] for ranks in x], colour=2),
        curve("model: default table", x, [ranks * rates["default"] for ranks in x], colour=0),
        curve("model: large table", x, [ranks * rates["large"] for ranks in x], colour=1),
        curve("model: live sources, all through rank 0", RANKS, [two["live"]] * len(RANKS), colour=3),
        series("measured: files", [1, 2], [rates["default"], two["files"]], line="none", colour=0),
        series("measured: through rank 0", [2], [two["live"]], line="none", colour=3),
        series("published: Landscape, 40 machines", [LANDSCAPE["machines"]], [LANDSCAPE["updates"]], line="none", colour=6)])

    def by_network(name):
        size = size_of(parts, name)
        node = node_of(parts, size)
        return [curve(cost.NETWORKS[k].name, RANKS, [cost.background_sum_seconds(ranks, size, node, cost.NETWORKS[k]) for ranks in RANKS], "solid")
                for k in SHOWN] + [curve("letters of the epoch", RANKS, [cost.letters_seconds(ranks, node) for ranks in RANKS], "dotted", colour=6)]

    merges = [chart(f"{name} table, {size_text(size_of(parts, name))}", axis("ranks", True), axis("time of a sum", True, "seconds"), by_network(name))
              for name in ("default", "large")]
    lengths = [curve(f"{name} table", RANKS, [costs(parts, name, ranks, network).merging / SHARE for ranks in RANKS], "solid") for name in TABLES]
    memories = [curve(f"{name} table, {window} epoch{'s' * (window > 1)}", RANKS,
                      [cost.root_bytes(ranks, size_of(parts, name), window, report_bytes(parts)[0]) for ranks in RANKS],
                      "solid" if window > 1 else "dotted", colour=colour)
                for colour, name in enumerate(TABLES) for window in (1, WINDOW)]
    limits = [chart(f"epoch of which merging takes {SHARE:.0%}", axis("ranks", True), axis("length of an epoch", True, "seconds"), lengths,
                    horizontal=[line(1, "one second")]),
              chart("memory of the root", axis("ranks", True), axis("bytes", True, "bytes"), memories,
                    horizontal=[line(MEMORY_OF_A_RANK, "8 GiB")])]
    steps = []
    for name in ("default", "large"):
        each = [costs(parts, name, ranks, network) for ranks in RANKS]
        steps.append(chart(f"{name} table, {size_text(size_of(parts, name))}", axis("ranks", True), axis("time of the root", True, "seconds"),
                           [curve("letters", RANKS, [one.letters for one in each], "solid", colour=0),
                            curve("sum of the table", RANKS, [one.total for one in each], "solid", colour=1),
                            curve("slide of a window", RANKS, [one.slide for one in each], "solid", colour=2),
                            curve(f"positions of {FILES} files", RANKS, [one.positions for one in each], "solid", colour=3),
                            curve("answer", RANKS, [one.answer for one in each], "solid", colour=4)], horizontal=[line(1, "one second")]))
    large = size_of(parts, "large")
    node = node_of(parts, large)
    ways = [chart("time of a sum, large table", axis("ranks", True), axis("time", True, "seconds"),
                  [curve("--merge root", RANKS, [cost.background_sum_seconds(ranks, large, node, network) for ranks in RANKS], "solid"),
                   curve("--merge distributed", RANKS, [cost.distributed_sum_seconds(ranks, large, node, network) for ranks in RANKS], "solid")]),
            chart(f"time of an answer, large table, {N:,} keys", axis("ranks", True), axis("time", True, "seconds"),
                  [curve("--merge root", RANKS, [parts["rate/large"]["answer"]] * len(RANKS), "solid"),
                   curve("--merge distributed", RANKS, [parts["rate/large"]["answer"] / cost.search_ranks(ranks, N) for ranks in RANKS], "solid")])]
    counts = []
    for part in of_kind(parts, "epochs"):
        measured, _ = of_an_epoch(part)
        expected = cost.background_sum(part["ranks"], part["table"])
        counts.append([part["ranks"], f"{measured['collective'][0]:,.0f} ({expected.bytes:,})", f"{measured['collective'][1]:,.0f} ({expected.messages:,})",
                       f"{measured['to root'][0]:,.0f} ({expected.bytes_to_root:,})",
                       f"{digits(measured['out'][1] / (part['ranks'] - 1))} and {digits(measured['in'][1] / (part['ranks'] - 1))}"])
    plain, file = report_bytes(parts)
    nodes = {name: node_of(parts, size_of(parts, name)) for name in TABLES}
    return [
        Text("Measured on this machine: rates of one and two ranks, messages between two ranks, counts of messages, peaks of memory. "
             "Everything beyond is a model. A message of n bytes takes a latency and n times a time for a byte; the parameters between "
             "nodes are published ones, those inside of a node are measured here. Steps of one rank follow each other, so that times are "
             f"upper bounds. The model assumes that {RANKS_OF_A_NODE} ranks share the link of a node, that they do not slow each other "
             "down in memory, and that the network is not congested."),
        Figure(ingest, "Where each rank reads its part of the files there is nothing to share but the sums. Live sources that rank 0 "
                       f"reads for all cost its time: it reads and hands out {digits(two['live'] / 1e6)} million updates a second here, "
                       "and would do no more for more ranks. Landscape (Tench et al., 'Exploring the Landscape of Distributed Graph "
                       "Sketching', ALENEX 2025) is a published measurement, of other sketches: 332 million updates a second come in "
                       "through one machine and leave it for 40 others, so that its network bounds it. Its point counts machines, the "
                       "other ones ranks."),
        Figure(grid("", merges, share_y=True), "Model. Open MPI's sum halves the table between pairs of ranks, so that its time hardly "
                                               "grows with the ranks; the letters grow in proportion to them."),
        Figure(grid("", limits), f"Model, on {network.name}. Left: letters, sum and slide together. Right: the tables of a window and the "
                                 "reports of an epoch."),
        Figure(grid("", steps, share_y=True), f"Model, on {network.name}: what an epoch costs the root, step by step. An answer searches "
                                              f"{N:,} keys."),
        Table(["step", *(f"{name} table, {size_text(size_of(parts, name))}" for name in TABLES)], first_to_break(parts, network),
              f"Model: what an epoch with a checkpoint and an answer costs the root at {MOST:,} ranks on {network.name}, and shares of it. "
              "While it is below the length of an epoch, ranks do not wait."),
        Figure(grid("", ways), f"Model, on {network.name}: summed on the root, which answers alone, or shared out (a reduce-scatter and a "
                               "gathering to all, around rings), where at most one rank for each "
                               f"{cost.BATCH_KEYS:,} keys searches. While the root answers alone the others read on."),
        Table(["ranks", "bytes (of the model)", "messages (of the model)", "bytes to rank 0 (of the model)", "letters out and in"], counts,
              f"Counted of one epoch, table of {size_text(of_kind(parts, 'epochs')[0]['table'])}: a run with few epochs is taken from one "
              "with many. Open MPI 4.1 chooses a chain for 2 ranks, and Rabenseifner's way (coll_libnbc) from 3 on; nothing is forced. "
              f"Letters are for each other rank; a report has {digits(plain)} bytes, and {digits(file)} more for each file with a checkpoint."),
        Table(["between", "latency", "GB/s", "source"],
              [*([f"ranks of a node, {name} table", duration(here.latency), digits(1e-9 / here.per_byte),
                  f"measured here between two ranks; tables are added at {digits(1e-9 / here.add_per_byte)} GB/s"]
                 for name, here in nodes.items()),
               *([one.name, duration(one.latency), digits(1e-9 / one.per_byte), one.source] for one in cost.NETWORKS)],
              f"Parameters. Measured besides, of the root: {duration(node.letter)} for the letters of a rank and an epoch and for reading "
              f"its report, {duration(node.position)} more for each file with a checkpoint."),
    ]


CLUSTER = Step(
    "cluster", "Past these machines: what 2 to 4,096 ranks cost",
    "Sketches of P ranks are added by one sum of tables, whose size depends on neither the stream nor P: ingest grows with the ranks, and "
    "merging costs little.",
    "Not of the papers: it follows from linear sketches (weir's README, 'On a cluster')",
    "Messages and bytes that leave the ranks are counted with Open MPI's pml_monitoring in jobs of 2 to 16 ranks, and are equal to those "
    "of the model; letters of the root are 1 out and at most 2 in for each rank and epoch. --merge distributed gives the same bits as "
    "--merge root. The "
    f"peak of the root grows by a table (±10%) for each epoch of a window. A sum of two ranks takes the time of the model within a factor "
    f"of {FACTOR}; where other work keeps the cores busy that is not decided. By the model, merging takes at most {SHARE:.0%} of one "
    f"second at {MOST:,} ranks.",
    (60, 400), measure, judge, show)
