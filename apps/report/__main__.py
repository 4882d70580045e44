"""All experiments of weir, and one page of what came out. scripts/report builds what is needed and calls it."""

import argparse
import os
import pathlib
import shutil
import signal
import sys
import time

sys.dont_write_bytecode = True

import page  # noqa: E402
import steps  # noqa: E402
from running import ROOT, Progress, Store, clock, is_finished, load_average, program_version, run_step  # noqa: E402

PROGRAMS = ["weir", "apps/plot/weir_chart", *(f"apps/experiments/weir_{name}" for name in (
    "attention", "attention_study", "audit", "calibration", "messages", "samplers", "worp"))]


def arguments(words):
    names = [step.name for step in steps.ALL]
    parser = argparse.ArgumentParser(
        prog="scripts/report", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Runs all experiments of weir and writes one HTML page, OUTPUT/quick.html or OUTPUT/full.html,\n"
                    "with their figures, tables and verdicts. The verdicts alone stand beside it, in quick.md or full.md.",
        epilog="A step that has been run is not run again, and a run that was cut goes on where it stopped: numbers are kept in\n"
               "OUTPUT/steps. Exit codes: 0 done; 1 a step failed (the page says why); 2 wrong usage; 130 interrupted.\n\n"
               "Steps: " + " ".join(names))
    parser.add_argument("--full", action="store_true", help="the full size: hours, on a quiet machine. The quick one takes about twelve minutes")
    parser.add_argument("--only", nargs="+", metavar="STEP", choices=names, help="run these steps; the page shows the others as they are stored")
    parser.add_argument("--again", nargs="*", metavar="STEP", choices=names, default=None,
                        help="run these steps again, or all that are run (without a name)")
    parser.add_argument("--output", metavar="FOLDER", type=pathlib.Path, default=ROOT / "build" / "report", help="(build/report)")
    parser.add_argument("--list", action="store_true", help="name the steps, and which of them are done, and end")
    # Of scripts/report: where the programs are.
    parser.add_argument("--build", metavar="FOLDER", type=pathlib.Path, default=ROOT / "build", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def machine():
    """The processor, the cores that this program may use, and how busy they are."""
    name = ""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0))
    return f"{name or 'Unknown processor'}, {cores} core{'s' * (cores != 1)}, load average {load_average():.1f}"


def list_steps(store):
    for step in steps.ALL:
        document = store.load(step.name)
        state = "failed" if document and document.get("error") else "done" if is_finished(document) else "cut" if document else "not run"
        quick, full = (clock(seconds) for seconds in step.seconds)
        print(f"{step.name:<18}{state:<9}{quick:>6} (full {full:>6})  {step.title}")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def write_page(options, size, version, store):
    """The page, and its verdicts as Markdown beside it."""
    documents = {step.name: store.load(step.name) for step in steps.ALL}
    text, fine = page.make(steps.ALL, documents, size, version, machine(), options.build / "apps/plot/weir_chart")
    path = options.output / f"{size}.html"
    write(path, text)
    write(path.with_suffix(".md"), page.markdown(steps.ALL, documents, f"{version}, the {size} size. {machine()}."))
    return path, fine


def say_verdicts(progress, store):
    for name, _, _, word, sentence, _ in page.verdicts(steps.ALL, {step.name: store.load(step.name) for step in steps.ALL}):
        progress.say(f"{name:<18}{word:<12} {sentence}")


def main(words):
    options = arguments(words)
    here = pathlib.Path(os.environ.get("WEIR_REPORT_FROM", "."))
    options.output, options.build = (here / options.output).resolve(), (here / options.build).resolve()
    size = "full" if options.full else "quick"
    store = Store(options.output, size)
    if options.list:
        list_steps(store)
        return 0
    missing = [name for name in PROGRAMS if not (options.build / name).exists()]
    if missing:
        print(f"scripts/report: {options.build / missing[0]} is missing: call scripts/report, which builds it", file=sys.stderr)
        return 2
    if shutil.which("mpirun") is None:
        print("scripts/report: there is no mpirun", file=sys.stderr)
        return 2

    version = program_version(options.build)
    progress = Progress()
    wanted = [step for step in steps.ALL if not options.only or step.name in options.only]
    again = {step.name for step in wanted} if options.again == [] else set(options.again or [])
    pending = [step for step in steps.ALL if step.name in again or (step in wanted and not is_finished(store.load(step.name)))]
    expected = [step.seconds[options.full] for step in pending]
    if pending:
        progress.say(f"{len(pending)} of {len(steps.ALL)} steps, about {clock(sum(expected))} on two quiet cores")
    old = [step.name for step in steps.ALL if step not in pending and is_finished(store.load(step.name))
           and store.load(step.name)["version"] != version]
    if old:
        progress.say(f"These are of another version of the program; --again {' '.join(old)} runs them again")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for count, step in enumerate(pending):
            begin = time.monotonic()
            with progress.step(f"[{count + 1}/{len(pending)}] {step.name}", expected[count], sum(expected[:count]), sum(expected)):
                document = run_step(step, store, size, version, options.build, progress, step.name in again)
            progress.say(f"[{count + 1}/{len(pending)}] {step.name}: {clock(time.monotonic() - begin)}"
                         + (f", failed: {document['error'].splitlines()[0]}" if document.get("error") else ""))
            write_page(options, size, version, store)
    except KeyboardInterrupt:
        path, _ = write_page(options, size, version, store)
        progress.say(f"Interrupted. {path} shows what is done; the same command goes on with the rest.")
        return 130
    path, fine = write_page(options, size, version, store)
    say_verdicts(progress, store)
    progress.say(f"\n{path}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
