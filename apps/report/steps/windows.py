"""Windows over a stream of the world: how shares of the squared norm drift, and whether windowed answers are right."""

import gzip
import math
import os
import pathlib
import statistics

from figures import Figure, Table, Text, axis, chart, curve, grid, series
from inputs import write_lines
from judging import Check, Verdict, decide, digits, duration, ratio_of, size_text, upper_tail
from running import ROOT, Step

DATA = pathlib.Path(os.environ.get("WEIR_DEMO_DATA", ROOT / "apps/demo/debian-dependencies"))
PACKAGES, SECTIONS = 50803, 58
EPOCH = 12000  # events
WINDOW = 4  # epochs
DECAY = 0.7
# How the answers of a run are told apart: its options, and what its vector is made of.
MODES = {"window": ["--window", WINDOW], "decay": ["--decay", DECAY], "all": []}
TRACKED, OTHERS = 5, 11  # coordinates that are drawn, and others that are checked besides
RARE = 0.001  # so many values out of their bounds, or more, are no chance
MISS = 0.01  # of the printed bounds
SLIDES = (2, 8, 64)  # epochs of a window whose slides are timed
GRANTED = 2


def read_stream():
    """(i, change of y_i) of each event, names of the packages, names of the sections that events are of."""
    weights = [float(line) for line in (DATA / "scientist.txt").read_text(encoding="ascii").split()]
    sections = (DATA / "sections.txt").read_text(encoding="utf-8").split()
    labels = (DATA / "packages.txt").read_text(encoding="utf-8").splitlines()
    with gzip.open(DATA / "events.csv.gz", "rt", encoding="ascii") as file:
        fields = [line.split(",") for line in file if line[0] == "A"]
    changes = [(int(i), float(delta) * weights[int(j)]) for _, i, j, delta in fields]
    return changes, labels, [sections[int(j)] for _, _, j, _ in fields]


def vectors(changes, mode):
    """y at the end of every epoch, as the options of the mode define it, computed without weir."""
    deltas = []
    for begin in range(0, len(changes), EPOCH):
        delta = {}
        for i, change in changes[begin:begin + EPOCH]:
            delta[i] = delta.get(i, 0.0) + change
        deltas.append(delta)
    out, y = [], {}
    for k, delta in enumerate(deltas):
        if mode == "window":
            y = {}
            parts = deltas[max(0, k + 1 - WINDOW):k + 1]
        else:
            factor = DECAY if mode == "decay" else 1.0
            y = {i: factor * value for i, value in y.items()}
            parts = [delta]
        for part in parts:
            for i, value in part.items():
                y[i] = y.get(i, 0.0) + value
        out.append(dict(y))
    return out


def norm_of(y):
    return math.sqrt(math.fsum(value * value for value in y.values()))


def choose(whole, windows):
    """The two coordinates with the largest share of the whole stream, and those that gain most in a window."""
    total = norm_of(whole[-1]) ** 2
    share = {i: value * value / total for i, value in whole[-1].items()}
    gain = {}
    for y in windows:
        norm = norm_of(y) ** 2
        for i, value in y.items():
            gain[i] = max(gain.get(i, 0.0), value * value / norm - share.get(i, 0.0))
    first = sorted(share, key=lambda i: -share[i])[:2]
    return first + [i for i in sorted(gain, key=lambda i: -gain[i]) if i not in first][:TRACKED - 2]


def measure(bench):
    changes, labels, sections = read_stream()
    weir, path = bench.program("weir"), bench.scratch
    model = ["--model", "product", "--n", PACKAGES, "--d", SECTIONS, "--fixed", f"x={DATA / 'scientist.txt'}"]
    exact = {mode: vectors(changes, mode) for mode in MODES}
    tracked = choose(exact["all"], exact["window"])
    others = [i for i in range(PACKAGES // (2 * OTHERS), PACKAGES, PACKAGES // OTHERS) if i not in tracked]
    points = tracked + others
    stream = path / "events.bin"

    def prepare():
        if not stream.exists():
            bench.run([weir, "convert", DATA / "events.csv.gz", "-o", stream, "--to", "binary"])

    def drift(mode, seed):
        """Norm and values of one run, and how many of them are out of their bounds. Of windows that overlap one in WINDOW counts."""
        prepare()
        lines = bench.epochs("query", *model, "--seed", seed, "--norm", "--point", ",".join(map(str, points)),
                             "--labels", DATA / "packages.txt", "--every", EPOCH, *MODES[mode], stream)
        out = {"mode": mode, "seed": seed, "epochs": [], "values": 0, "outside": 0, "counted": 0, "counted outside": 0}
        for k, (line, y) in enumerate(zip(lines, exact[mode])):
            pairs = [(line["norm"], line["norm_bound"], norm_of(y))]
            pairs += [(point["value"], point["bound"], y.get(point["index"], 0.0)) for point in line["points"]]
            outside = sum(abs(value - truth) > bound * (1 + 1e-9) for value, bound, truth in pairs)
            out["values"] += len(pairs)
            out["outside"] += outside
            if (k + 1) % WINDOW == 0 if mode != "all" else k + 1 == len(lines):
                out["counted"] += len(pairs)
                out["counted outside"] += outside
            out["epochs"].append({"events": line["all_updates"],
                                  "norm": pairs[0], "points": [[point["label"], *pair] for point, pair in
                                                               zip(line["points"][:TRACKED], pairs[1:])]})
        if len(lines) != len(exact[mode]):
            raise ValueError(f"{len(lines)} epochs, expected {len(exact[mode])}")
        return out

    def draws(seed):
        """Draws from every window: how many are of coordinates that are 0 in it. Some windows once more, from their events alone."""
        prepare()
        options = ["sample", *model, "--seed", seed, "--samples", 32, "--labels", DATA / "packages.txt"]
        lines = bench.epochs(*options, "--every", EPOCH, *MODES["window"], stream)
        out = {"draws": 0, "left": 0, "same": 0, "compared": 0, "mass": [], "first": []}
        final = exact["all"][-1]
        total = norm_of(final) ** 2
        for line, y in zip(lines, exact["window"]):
            out["draws"] += len(line["samples"])
            out["left"] += sum(y.get(draw["index"], 0.0) == 0 for draw in line["samples"])
            out["mass"].append(math.fsum(value * value for i, value in final.items() if y.get(i, 0.0) == 0) / total)
        for k in range(WINDOW - 1, len(lines), max(1, len(lines) // bench.pick(3, 10))):
            part = path / "window.bin"
            begin, end = EPOCH * (k + 1 - WINDOW), min(len(changes), EPOCH * (k + 1))
            with gzip.open(DATA / "events.csv.gz", "rt", encoding="ascii") as file:
                write_lines(path / "window.csv", [line.rstrip() for line in file if line[0] == "A"][begin:end])
            bench.run([weir, "convert", path / "window.csv", "-o", part, "--to", "binary"])
            fresh = bench.weir(*options, part)
            out["compared"] += 1
            out["same"] += fresh["samples"] == lines[k]["samples"] and fresh["norm"] == lines[k]["norm"]
            part.unlink()
        for k in range(WINDOW - 1, len(lines), WINDOW):
            begin, end = EPOCH * (k + 1 - WINDOW), min(len(changes), EPOCH * (k + 1))
            drawn = [draw["label"] for draw in lines[k]["samples"]]
            of = sections[begin:end]
            out["first"].append({"begin": begin, "end": end, "norm": lines[k]["norm"],
                                 "drawn": [[name, drawn.count(name)] for name in sorted(set(drawn), key=lambda name: (-drawn.count(name), name))[:4]],
                                 "of": len(drawn),
                                 "sections": sorted(set(of), key=lambda name: (-of.count(name), name))[:3]})
        return out

    def slides():
        """Time of a slide of a window that is full, in turns, so that what else the machine does hits all alike."""
        events, epochs, n = 400_000, 200, 1 << 20
        flat = path / "flat.bin"
        bench.run([weir, "generate", "flat", "--n", n, "--events", events, "--seed", 1, "-o", flat])
        times, peaks = {str(k): [] for k in SLIDES}, {}
        for turn in range(bench.pick(4, 8)):
            for k in SLIDES:
                watch = path / f"peaks-{k}-{turn}"
                watch.mkdir()
                lines = bench.epochs("query", "--n", n, "--norm", "--seed", 1, "--buckets", 1 << 16, "--every", events // epochs, "--window", k,
                                     flat, watch=watch)
                merged = [line["seconds"]["merge"] for line in lines]  # of all epochs so far
                times[str(k)].append(statistics.median(after - before for before, after in zip(merged[max(SLIDES):], merged[max(SLIDES) + 1:])))
                peaks[str(k)] = max(int(file.read_text(encoding="ascii")) for file in watch.iterdir())
        return {"table": lines[0]["sketch"]["bytes"], "epochs": epochs, "seconds": {k: sorted(all_)[:2] for k, all_ in times.items()}, "peaks": peaks}

    seeds = range(1, bench.pick(4, 21))
    for mode in MODES:
        for seed in seeds:
            bench.part(f"drift/{mode}/{seed}", lambda mode=mode, seed=seed: drift(mode, seed))
    for seed in seeds:
        bench.part(f"draws/{seed}", lambda seed=seed: draws(seed))
    bench.part("slides", slides)


def of_kind(parts, kind):
    return [part for key, part in parts.items() if key.startswith(kind + "/")]


def share(value, norm):
    """(low, estimate, high) of the share of the squared norm, from a value and a norm, each with its printed bound."""
    low = max(0.0, abs(value[0]) - value[1]) / (norm[0] + norm[1])
    high = (abs(value[0]) + value[1]) / max(norm[0] - norm[1], 1e-300)
    return low ** 2, (value[0] / norm[0]) ** 2, min(1.0, high ** 2)


def shares(parts, mode):
    """By label: events read, and (low, share, high) at the end of each epoch, of the first seed."""
    epochs = of_kind(parts, f"drift/{mode}")[0]["epochs"]
    out = {}
    for epoch in epochs:
        for label, *value in epoch["points"]:
            out.setdefault(label, []).append((epoch["events"], *share(value, epoch["norm"]), (value[2] / epoch["norm"][2]) ** 2))
    return out


def judge(parts):
    names = {"window": f"of the last {WINDOW} epochs", "decay": f"with a decay of {DECAY}", "all": "of the whole stream"}
    checks = []
    for mode in MODES:
        runs = of_kind(parts, f"drift/{mode}")
        counted, outside = sum(run["counted"] for run in runs), sum(run["counted outside"] for run in runs)
        verdict = Verdict.NO if upper_tail(counted, MISS, outside) < RARE else Verdict.YES
        checks.append(Check(
            f"Answers {names[mode]} are within their bounds of the exact ones", verdict,
            f"Of {sum(run['values'] for run in runs):,} printed values and norms in {len(runs)} runs {sum(run['outside'] for run in runs)} "
            f"are out of their bounds; of "
            f"{counted} that do not overlap {outside}, where {MISS:.0%} may be."))
    draws = of_kind(parts, "draws")
    drawn, left = sum(part["draws"] for part in draws), sum(part["left"] for part in draws)
    mass = [value for part in draws for value in part["mass"]]
    checks.append(Check("A window's draws do not contain what left, or has not come yet", decide(left / drawn, 1e-4),
                        f"{left} of {drawn:,} draws are of coordinates that are 0 in the window; one in 10,000 is granted. Of the whole "
                        f"stream's squared norm such "
                        f"coordinates hold up to {digits(100 * max(mass))}%."))
    same, compared = sum(part["same"] for part in draws), sum(part["compared"] for part in draws)
    checks.append(Check("A window answers as a fresh sketch of its events alone does", Verdict.YES if same == compared else Verdict.NO,
                        f"{same} of {compared} windows give the same draws, values and norm, bit for bit, as a job that reads the events "
                        f"of the window and "
                        "no others."))
    windows, whole = shares(parts, "window"), shares(parts, "all")
    label, gain = max(((label, max(at[1] for at in windows[label]) - whole[label][-1][3]) for label in windows), key=lambda pair: pair[1])
    peak = max(windows[label], key=lambda at: at[1])
    last = whole[label][-1]
    checks.append(Check("Windows show a drift that is larger than the printed bounds", Verdict.YES if gain > 0 else Verdict.NO,
                        f"{label} holds {digits(100 * peak[2])}% (at least {digits(100 * peak[1])}%) of the squared norm of the window "
                        f"that ends after {peak[0]:,} events, and "
                        f"{digits(100 * last[2])}% (at most {digits(100 * last[3])}%) of the whole stream's."))
    slides = parts["slides"]
    few, many = str(min(SLIDES)), str(max(SLIDES))
    ratio, uncertainty = ratio_of(slides["seconds"][many], slides["seconds"][few])
    checks.append(Check("A slide costs the same, however long the window is", decide(ratio, GRANTED, uncertainty),
                        f"A slide of a full window of {many} epochs takes {duration(slides['seconds'][many][0])}, one of {few} takes "
                        f"{duration(slides['seconds'][few][0])}, with a table of "
                        f"{size_text(slides['table'])}: {digits(ratio)} times (±{digits(uncertainty, 2)}); {GRANTED} are granted for "
                        f"caches, and adding all epochs anew would take "
                        f"{digits(int(many) / int(few), 2)} times as long."))
    return checks


def show(parts):
    by_mode = {mode: shares(parts, mode) for mode in MODES}
    titles = {"window": f"the last {WINDOW} epochs", "decay": f"decay {DECAY} an epoch", "all": "all events so far"}
    charts = []
    for mode, title in titles.items():
        lines = []
        for colour, (label, at) in enumerate(by_mode[mode].items()):
            x = [row[0] for row in at]
            lines.append(series(label, x, [row[2] for row in at], low=[row[1] for row in at], high=[row[3] for row in at], band=True, marker="none", colour=colour))
        charts.append(chart(title, axis("events"), axis("share of the squared norm", unit="percent", least=0, most=1), lines))
    norms = []
    for colour, (mode, title) in enumerate(titles.items()):
        epochs = of_kind(parts, f"drift/{mode}")[0]["epochs"]
        x = [epoch["events"] for epoch in epochs]
        norms.append(curve(f"{title}, exact", x, [epoch["norm"][2] for epoch in epochs], colour=colour))
        norms.append(series(title, x, [epoch["norm"][0] for epoch in epochs], low=[epoch["norm"][0] - epoch["norm"][1] for epoch in epochs],
                            high=[epoch["norm"][0] + epoch["norm"][1] for epoch in epochs], line="none", colour=colour))
    charts.append(chart("norm", axis("events"), axis("norm of y", True), norms))
    slides = parts["slides"]
    k = [int(key) for key in slides["seconds"]]
    cost = [chart("time of a slide", axis("epochs of the window", True), axis("time", True, "seconds"),
                  [series("measured", k, [slides["seconds"][str(one)][0] for one in k]),
                   curve("adding all epochs anew", k, [slides["seconds"][str(k[0])][0] * one / k[0] for one in k], colour=6)]),
            chart("memory", axis("epochs of the window", True), axis("peak of the process", True, "bytes"),
                  [series("measured", k, [slides["peaks"][str(one)] for one in k]),
                   curve("the K + 1 tables of the window", k, [(one + 1) * slides["table"] for one in k], colour=6)])]
    first = of_kind(parts, "draws")[0]
    rows = [[f"{row['begin']:,} to {row['end']:,}", ", ".join(row["sections"]), digits(row["norm"]),
             ", ".join(f"{name} {count}" for name, count in row["drawn"])] for row in first["first"]]
    return [
        Text("The stream is that of scripts/run: how much each package of Debian 12 matters to a scientist, as y = A x, in the order of "
             "its file. That order is no time. The "
             "package index lists packages by name, so a window is a stretch of the alphabet of the packages that depend on others: ghc-* "
             "and libghc-* stand "
             "together, lib*-perl, python3-*, r-cran-*. Only the last 46,878 events are changes of a later day: stable updates and "
             "security replace packages, again by name. The drift is "
             "that of the file as it is; nothing was made for it."),
        Figure(grid("", charts), f"Epochs of {EPOCH:,} events. Bands are the bounds (99%) that weir prints beside its values and norms. "
                                 f"Drawn are the two packages with the "
               f"largest share of the whole stream, and the {TRACKED - 2} that gain most in a window."),
        Table(["events of the window", "sections with most events", "norm", f"most frequent of {first['first'][0]['of']} draws"], rows,
              "What is drawn from windows that do not overlap."),
        Figure(grid("", cost), f"One rank, a table of {size_text(slides['table'])}, {slides['epochs']} epochs; the least of several turns, "
                               f"of each the median of the slides after "
               f"{max(SLIDES)} epochs. Before a window is full each epoch takes memory for one more table, which is not counted here."),
    ]


WINDOWS = Step(
    "windows", "Windows over a real stream: what drifts, and what a slide costs",
    "A window is a sum of epochs, so a linear sketch of it is the sum of theirs: an epoch that leaves is subtracted. Its answers are those "
    "of the events in the window, and "
    "a slide takes two additions of tables, whatever its length.",
    "Not of the papers: it follows from linear sketches (weir's README, 'While the stream runs')",
    f"Values and norms of windows that do not overlap are out of their printed bounds no more often than {MISS:.0%}, as far as chance of "
    f"one in {1 / RARE:,.0f} tells; the exact ones are "
    "computed from the file without weir. At most one draw in 10,000 is of a coordinate that is 0 in the window. Some windows give the "
    "same bits as a job that reads their "
    f"events alone. A slide of {max(SLIDES)} epochs takes at most {GRANTED} times as long as one of {min(SLIDES)}.",
    (45, 300), measure, judge, show)
