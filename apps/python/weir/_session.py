"""Streams that are read by all ranks of a communicator. Needs MPI; mpi4py is the usual way to it."""

from __future__ import annotations

import os
from typing import Any, Callable, Iterable, Optional, Sequence, Union

import numpy as np

from . import _arrays, _core, _mpi
from ._problem import Problem
from ._results import Answers, Draws, Names, draws
from ._states import State, _count, _scale, _wrap

Path = Union[str, "os.PathLike[str]"]


class Session:
    """A running measurement: the ranks of a communicator read `sources`, each its part, and rank 0 answers.

    comm         a communicator of mpi4py, or the number that its py2f() gives. It is duplicated, and not kept
    problem      a `Problem`, whose `fixed` names files, or arrays where an operand is a vector; or a `State` that the
                 stream goes on from, on rank 0 (others may give None)
    sources      files of events, a name or several: text, binary, .npy, Matrix Market, .gz of these, pipes, as
                 `weir sample --help` says
    on_error     "stop" at a bad line, or "skip" it and count it
    exact        keep exact values beside the sketch, for `sample(show_exact=True)`
    progress     write a line to standard error every so many seconds

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
        exact: bool = False,
        progress: float = 0,
    ) -> None:
        if on_error not in ("stop", "skip"):
            raise _core.UsageError(f"on_error is {on_error!r}: expected stop or skip")
        paths = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
        fixed = problem.fixed if isinstance(problem, Problem) else {}
        files = {name: os.fspath(given) for name, given in fixed.items() if isinstance(given, (str, os.PathLike))}
        values = {name: _arrays.reals(given, name) for name, given in fixed.items() if name not in files}
        self._mpi = _mpi.Session(
            _handle(comm),
            problem._specification if isinstance(problem, Problem) else None,
            problem._core if isinstance(problem, State) else None,
            [os.fspath(path) for path in paths],
            files,
            values,
            on_error == "skip",
            progress,
            exact,
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
        return self._mpi.advance(events, seconds)

    def run(
        self,
        at_epoch: Callable[[dict[str, Any]], Any],
        *,
        every: Optional[int] = None,
        seconds: Optional[float] = None,
        window: Optional[int] = None,
        decay: float = 1,
        tumbling: bool = False,
    ) -> None:
        """Reads to the end of the stream in epochs of `every` events or `seconds`, and calls at_epoch(epoch) at the end of
        each; in there `sample`, `query` and `state` are about the window: the last `window` epochs, or all with `decay`.

        With several ranks at_epoch is called on rank 0 alone, which answers while the others read on, where it can; otherwise
        on all ranks. epoch is a dict of epoch, whole, final, updates, all_updates, skipped, window_epochs, time.
        """
        self._mpi.run(every, seconds, window, decay, tumbling, at_epoch)

    def sample(
        self,
        samples: int = 8,
        *,
        without_replacement: bool = False,
        threshold: float = 1,
        metric: Any = None,
        scale: Union[float, str] = 1,
        per_row: bool = False,
        verify: bool = True,
        show_exact: bool = False,
        second_pass: bool = False,
        names: Optional[Iterable[Any]] = None,
        labels: Any = None,
    ) -> Optional[Draws]:
        """As `State.sample`, of all events so far. `show_exact` needs exact=True. `second_pass` reads the sources once
        more, and gives exact values."""
        arguments = {
            "samples": _count("samples", samples),
            "threshold": threshold,
            "without_replacement": without_replacement,
            "metric": metric if metric is None or isinstance(metric, str) else _arrays.reals(metric, "metric"),
            "scale": _scale(scale, self.problem),
            "per_row": per_row,
            "verify": verify,
            "show_exact": show_exact,
        }
        found = self._mpi.sample(arguments, second_pass)
        return None if found is None else draws(found, Names(self.problem.seed, names, labels))

    def query(
        self,
        *,
        norm: bool = False,
        top: int = 0,
        points: Any = None,
        columns: Any = None,
        moments: Sequence[float] = (),
        inner: Optional[State] = None,
        names: Optional[Iterable[Any]] = None,
        labels: Any = None,
    ) -> Optional[Answers]:
        """As `State.query`, of all events so far."""
        arguments: dict[str, Any] = {"norm": norm, "top": _count("top", top, 0), "moments": list(moments)}
        if points is not None:
            arguments["points"] = _arrays.keys(points, self.problem.seed, self.problem.shape[0], "point")
            if columns is not None:
                arguments["columns"] = np.asarray(_arrays.keys(columns, 0, self.problem.shape[-1], "column"))
        if not norm and top == 0 and points is None and not arguments["moments"] and inner is None:
            arguments["norm"] = True
        found = self._mpi.query(arguments, None if inner is None else inner._core)
        return None if found is None else Answers(found, Names(self.problem.seed, names, labels))

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
