"""Streams that are read by all ranks of a communicator. Needs MPI; mpi4py is the usual way to it."""

from __future__ import annotations

import os
from typing import Any, Callable, Iterable, Mapping, Optional, Union

import numpy as np

from . import _arrays, _core, _mpi
from ._arguments import real, shown, whole
from ._problem import Problem
from ._questions import Asked
from ._results import Answers, Draws
from ._states import State, _wrap

Path = Union[str, "os.PathLike[str]"]


class Session(Asked[Optional[Draws], Optional[Answers]]):
    """A running measurement: the ranks of a communicator read `sources`, each its part, and rank 0 answers.

    comm         a communicator of mpi4py, or the number that its py2f() gives. It is duplicated, and not kept
    problem      a `Problem`, whose `fixed` names files, or arrays where an operand is a vector; or a `State` that the
                 stream goes on from, on rank 0 (others may give None)
    sources      files of events, a name or several: text, binary, .npy, Matrix Market, .gz of these, pipes, as
                 `weir sample --help` says
    on_error     "stop" at a bad line, or "skip" it and count it
    edges        what lines of two or three numbers mean, "out", "in", "both" or "none", where the file does not say
    key          files are tables, logs or lines of JSON, and this column is the key: by name, or by number from 1; a list of
                 columns is one key. Keys may be text, whose names come with what is drawn. See `weir sample --help`
    delta, sign  the column, or the number, that a line adds (1 if not given), and the column that says whether it adds
    separator, header   one character, and True or False, where the files do not tell
    exact        keep exact values beside the sketch, for `sample(exact=True)`
    progress     write a line to standard error every so many seconds
    checkpoint   a directory for checkpoints, which `run` writes: what was read, and how far. One session at a time
    resume       go on from the newest checkpoint there, on any number of ranks, and from the beginning where there is none.
                 A problem without a seed takes that of the checkpoint. Raises ValueError where the problem is another one

    Every method is collective: all ranks call it, in the same order and with the same arguments, on the thread that started
    MPI. What it answers is on rank 0, and None elsewhere. Errors are ValueError, raised on every rank. Use it in a `with`
    statement, or close it, before MPI ends.
    """

    def __init__(
        self,
        comm: Any,
        problem: Union[Problem, State, None],
        sources: Union[Path, Iterable[Path]] = (),
        *,
        on_error: str = "stop",
        edges: Optional[str] = None,
        key: Union[str, int, Iterable[Union[str, int]], None] = None,
        delta: Union[str, float, None] = None,
        sign: Union[str, int, None] = None,
        separator: Optional[str] = None,
        header: Optional[bool] = None,
        exact: bool = False,
        progress: float = 0,
        checkpoint: Optional[Path] = None,
        resume: bool = False,
    ) -> None:
        if on_error not in ("stop", "skip"):
            raise _core.UsageError(f"on_error is {on_error!r}: expected stop or skip")
        columns = [] if key is None else [str(key)] if isinstance(key, (str, int)) else [str(column) for column in key]
        if not columns and (delta is not None or sign is not None or separator is not None or header is not None):
            raise _core.UsageError("delta, sign, separator and header are of lines with a key: expected key=COLUMN")
        if columns and edges is not None:
            raise _core.UsageError("key and edges: lines are those of a table or of a graph, expected one of them")
        paths = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
        fixed = problem.fixed if isinstance(problem, Problem) else {}
        files = {name: os.fspath(given) for name, given in fixed.items() if isinstance(given, (str, os.PathLike))}
        values = {name: _arrays.reals(given, name) for name, given in fixed.items() if name not in files}
        self._mpi = _mpi.Session(
            _handle(comm),
            problem._specification if isinstance(problem, Problem) else None,
            problem._core if isinstance(problem, State) else None,
            {
                "stream": [os.fspath(path) for path in paths],
                "files": files,
                "values": values,
                "skips_bad_lines": on_error == "skip",
                "edges": edges or "",
                "columns": {
                    "key": columns,
                    "delta": "" if delta is None else str(delta),
                    "sign": "" if sign is None else str(sign),
                    "separator": separator or "",
                    "header": header,
                },
                "progress_seconds": real("progress", progress),
                "with_exact": exact,
                "checkpoint": "" if checkpoint is None else os.fspath(checkpoint),
                "resumes": resume,
                "has_seed": not isinstance(problem, Problem) or problem.has_seed,
            },
        )

    @property
    def problem(self) -> "_core.Problem":
        """What is measured, complete, on every rank."""
        return self._mpi.problem

    @property
    def rank(self) -> int:
        return self._mpi.rank

    @property
    def size(self) -> int:
        return self._mpi.size

    def advance(self, events: Optional[int] = None, seconds: Optional[float] = None) -> bool:
        """Reads on to the end of the stream, or until so many events of all ranks, or so long. True when there may be
        more."""
        return self._mpi.advance(_events("events", events), _seconds("seconds", seconds))

    def run(
        self,
        at_epoch: Callable[[dict[str, Any]], Any],
        *,
        every: Optional[int] = None,
        seconds: Optional[float] = None,
        window: Optional[int] = None,
        decay: float = 1,
        tumbling: bool = False,
        checkpoint_every: Optional[int] = None,
        checkpoint_seconds: Optional[float] = None,
    ) -> None:
        """Reads to the end of the stream in epochs of `every` events or `seconds`, and calls at_epoch(epoch) at the end of
        each; in there `sample`, `query` and `state` are about the window: the last `window` epochs, or all with `decay`.

        With several ranks at_epoch is called on rank 0 alone, which answers while the others read on, where it can; otherwise
        on all ranks. epoch is a dict of epoch, whole, final, updates, all_updates, skipped, window_epochs, time, checkpoint
        (the number of the last one that is on disk, or 0).

        A session with a directory for checkpoints writes one every `checkpoint_every` events or `checkpoint_seconds`, by
        default at the end of every epoch, and at the end. What at_epoch raises ends the run; a session that resumes goes on
        from the last checkpoint.
        """
        self._mpi.run(
            _events("every", every),
            _seconds("seconds", seconds),
            _events("window", window),
            real("decay", decay),
            tumbling,
            _events("checkpoint_every", checkpoint_every),
            _seconds("checkpoint_seconds", checkpoint_seconds),
            at_epoch,
        )

    def _draw(self, arguments: Mapping[str, Any], exact: Any, second_pass: bool) -> Optional[dict[str, Any]]:
        if exact is not None and not isinstance(exact, (bool, np.bool_)):
            raise _core.UsageError(f"exact is {shown(exact)}: expected True or False, and a Session with exact=True")
        return self._mpi.sample(arguments, second_pass)

    def _find(self, arguments: Mapping[str, Any], inner: Any) -> Optional[dict[str, Any]]:
        return self._mpi.query(arguments, inner)

    def state(self) -> Optional[State]:
        """Merges what the ranks have read, and returns a copy of the state on rank 0."""
        found = self._mpi.snapshot()
        return None if found is None else _wrap(found)

    def save(self, path: Path) -> None:
        """Merges, and writes the state to a .weir file, by rank 0."""
        self._mpi.save(os.fspath(path))

    def statistics(self) -> dict[str, Any]:
        """updates, skipped (bad lines), seconds (of the slowest rank), on every rank."""
        return self._mpi.statistics()

    def close(self) -> None:
        """Frees the communicators. Closing twice does no harm."""
        self._mpi.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _events(name: str, count: Optional[int]) -> Optional[int]:
    return None if count is None else whole(name, count, 1)


def _seconds(name: str, seconds: Optional[float]) -> Optional[float]:
    return None if seconds is None else real(name, seconds)


def _handle(comm: Any) -> int:
    """The Fortran handle, which every MPI library has and which is a plain number."""
    if isinstance(comm, int) and not isinstance(comm, bool):
        return comm
    if not hasattr(comm, "py2f"):
        raise _core.UsageError(f"comm is {comm!r}: expected a communicator of mpi4py, or its Fortran handle")
    from mpi4py import MPI

    theirs, ours = (version.strip("\0") for version in (MPI.Get_library_version(), _mpi.library_version()))
    if theirs != ours:
        raise _core.UsageError(
            f"mpi4py was built for {theirs.splitlines()[0]!r} and weir for {ours.splitlines()[0]!r}: expected one MPI library"
        )
    return comm.py2f()
