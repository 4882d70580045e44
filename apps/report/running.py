"""Runs steps: commands with their progress, numbers that are kept as soon as they are there, runs that go on where they stopped."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORMAT = 1
# Without a launcher Open MPI need not start a daemon.
ALONE = {"OMPI_MCA_ess_singleton_isolated": "1", "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,vader"}


@dataclasses.dataclass(frozen=True)
class Step:
    """An experiment: what it claims, how it is measured, judged and shown. `judge` and `show` get the parts that `measure` made,
    by their keys, and nothing else, so that a page can be made again without a run."""

    name: str
    title: str
    claim: str
    source: str
    criterion: str
    seconds: tuple  # expected on two quiet cores: quick, full
    measure: typing.Callable
    judge: typing.Callable
    show: typing.Callable


class StepFailed(Exception):
    """A step could not be measured; the text says why."""


class Store:
    """What steps have given: a file a step and size in OUTPUT/steps/SIZE/."""

    def __init__(self, output, size):
        self.folder = pathlib.Path(output) / "steps" / size

    def load(self, name):
        """The document of a step, or None where there is none that can be used."""
        try:
            document = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        usable = isinstance(document, dict) and document.get("format") == FORMAT and isinstance(document.get("parts"), dict)
        return document if usable else None

    def save(self, name, document):
        """Atomic: a run that is cut leaves the file of before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.json"
        path.with_suffix(".new").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        path.with_suffix(".new").replace(path)


def is_finished(document):
    return bool(document) and bool(document.get("finished")) and not document.get("error")


class Progress:
    """Says on standard error which step runs, for how long, and how long it was expected to take."""

    def __init__(self, stream=sys.stderr, every=None):
        self.stream = stream
        self.is_terminal = stream.isatty()
        self.every = every or (1.0 if self.is_terminal else 15.0)
        self.started = time.monotonic()
        self.detail = ""

    def say(self, text):
        if self.is_terminal:
            self.stream.write("\r\033[K")
        print(text, file=self.stream, flush=True)

    @contextlib.contextmanager
    def step(self, label, seconds, done, whole):
        """`done`, `whole`: expected seconds of the steps before, and of all."""
        stop, begin = threading.Event(), time.monotonic()
        self.detail = ""

        def tick():
            while not stop.wait(self.every):
                now = time.monotonic()
                left = max(0.0, whole - done - min(seconds, now - begin))
                text = (f"{label}: {clock(now - begin)} of about {clock(seconds)}{self.detail}; "
                        f"all: {clock(now - self.started)}, about {clock(left)} to go")
                if self.is_terminal:
                    self.stream.write(f"\r\033[K{text[:150]}")
                    self.stream.flush()
                else:
                    print(text, file=self.stream, flush=True)

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def load_average():
    return os.getloadavg()[0]


class Bench:
    """What the function `measure` of a step gets: commands to run, and parts that are kept."""

    def __init__(self, document, save, build, scratch, full, progress=None):
        self._document, self._save, self._progress = document, save, progress
        self.build, self.scratch, self.full = pathlib.Path(build), pathlib.Path(scratch), full

    def pick(self, quick, full):
        """A size of the quick run, or of the full one."""
        return full if self.full else quick

    def part(self, key, work):
        """Calls `work` unless its numbers are there already, and keeps what it returns."""
        parts = self._document["parts"]
        if key in parts:
            return parts[key]
        if self._progress:
            self._progress.detail = f", {key}"
        numbers = work()
        json.dumps(numbers, allow_nan=False)  # throws here, where the step fails, and not when all is saved
        parts[key] = numbers
        self._save()
        return parts[key]

    def run(self, command, ranks=None, watch=None, launcher=(), stdin=None):
        """Runs a command and returns its standard output. `ranks`: under mpirun, with the options `launcher`. `watch`: a folder
        where each rank leaves the peak of its memory. `stdin`: a file. Throws StepFailed for an exit code that is not 0."""
        command = [str(word) for word in command]
        options = [str(word) for word in launcher]
        shown = (["mpirun", *options, "-n", str(ranks)] if ranks else []) + command
        self._note(shown, stdin)
        watched = [sys.executable, "-I", "-S", str(ROOT / "apps/report/watch_rank.py"), str(watch)] if watch else []
        before = ["mpirun", "--bind-to", "none", *options, "-n", str(ranks)] if ranks else []
        return execute(before + watched + command, shown, ALONE if not ranks else {}, stdin)

    def weir(self, *arguments, **options):
        """The JSON object of a subcommand of weir that takes --json. `options`: those of run()."""
        return json.loads(self.run([self.program("weir"), *arguments, "--json"], **options))

    def epochs(self, *arguments, **options):
        """The JSON objects of a subcommand of weir with --every, one for each epoch. `options`: those of run()."""
        return [json.loads(line) for line in self.run([self.program("weir"), *arguments], **options).splitlines()]

    def experiment(self, name, *arguments, **options):
        """What a program of apps/experiments writes with --json FILE. `options`: those of run()."""
        path = self.scratch / f"{name}.json"
        self.run([self.program(f"apps/experiments/{name}"), *arguments, "--json", path], **options)
        return json.loads(path.read_text(encoding="utf-8"))

    def program(self, name):
        return self.build / name

    def _note(self, words, stdin=None):
        text = displayed(words) + (f" < {displayed([str(stdin)])}" if stdin else "")
        if text not in self._document["commands"]:
            self._document["commands"].append(text)


def displayed(words):
    """A command as one would type it in the root of the tree."""
    root = str(ROOT) + os.sep
    return shlex.join(word.replace(root, "") for word in words)


def execute(command, shown, more_environment, stdin=None):
    """Standard output of a command, whose standard input is the file `stdin`. It is ended when this program is interrupted."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors, open(stdin or os.devnull, "rb") as source:
        process = subprocess.Popen(command, cwd=ROOT, stdin=source, stdout=subprocess.PIPE, stderr=errors,
                                   env=dict(os.environ, **more_environment), text=True, encoding="utf-8", errors="replace")
        try:
            output, _ = process.communicate()
        except BaseException:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        if process.returncode != 0:
            errors.seek(0)
            tail = "\n".join(errors.read().strip().splitlines()[-20:])
            raise StepFailed(f"{displayed(shown)}\nended with exit code {process.returncode}\n{tail}".rstrip())
    return output


def program_version(build):
    """As in "weir 0.1.0, commit 1234567". Without a program or without git there is less."""
    def said(*command):
        try:
            outcome = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                     env=dict(os.environ, **ALONE), check=True)
            return outcome.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""
    version = said(str(pathlib.Path(build) / "weir"), "--version") or "weir of unknown version"
    commit = said("git", "rev-parse", "--short", "HEAD")
    if not commit:
        return version
    changed = said("git", "status", "--porcelain", "--untracked-files=no", "--", "src", "include", "apps")
    return f"{version}, commit {commit}{' and changes' if changed else ''}"


def new_document(step, size, version):
    return {"format": FORMAT, "step": step.name, "size": size, "version": version,
            "started": time.strftime("%Y-%m-%d %H:%M", time.localtime()), "seconds": 0.0, "load": load_average(),
            "commands": [], "parts": {}, "finished": False}


def run_step(step, store, size, version, build, progress=None, again=False):
    """Measures a step, or what is left of it, and returns its document. An error of the step is in the document."""
    document = None if again else store.load(step.name)
    if is_finished(document):
        return document
    # Parts of another version are of no use beside those of this one.
    if document is None or document.get("version") != version:
        document = new_document(step, size, version)
    document.pop("error", None)
    begin, before = time.monotonic(), document["seconds"]

    def save():
        document["seconds"] = before + time.monotonic() - begin
        store.save(step.name, document)

    # Always the same name, as it stands in the commands that the page shows.
    scratch = store.folder.parents[1] / "scratch" / step.name
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        step.measure(Bench(document, save, build, scratch, size == "full", progress))
        document["finished"] = True
    except Exception as error:  # a step that fails does not stop the others
        document["error"] = str(error) if isinstance(error, StepFailed) else f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    save()
    return document
