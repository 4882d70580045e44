"""Questions: the arguments of `sample` and `query`, which states and sessions have in common."""

from __future__ import annotations

from typing import Any, Generic, Iterable, Mapping, Optional, Sequence, TypeVar, Union

import numpy as np

from . import _arrays, _core
from ._arguments import real, shown, whole
from ._results import Answers, Names, draws

DrawsT = TypeVar("DrawsT")
AnswersT = TypeVar("AnswersT")


class Asked(Generic[DrawsT, AnswersT]):
    """What answers questions about y."""

    @property
    def problem(self) -> "_core.Problem":
        raise NotImplementedError

    def _draw(self, arguments: Mapping[str, Any], exact: Any, second_pass: bool) -> Optional[dict[str, Any]]:
        raise NotImplementedError

    def _find(self, arguments: Mapping[str, Any], inner: Any) -> Optional[dict[str, Any]]:
        raise NotImplementedError

    def sample(
        self,
        samples: int = 8,
        *,
        without_replacement: bool = False,
        threshold: float = 1,
        metric: Any = None,
        scale: Union[float, str] = 1,
        per_row: bool = False,
        names: Optional[Iterable[Any]] = None,
        labels: Any = None,
        verify: Optional[bool] = None,
        exact: Any = None,
        second_pass: bool = False,
    ) -> DrawsT:
        """Draws indices i of y with probability |y_i|^p / sum |y|^p. At most `samples` come, and fewer where lanes
        fail. A state draws the same again until it is updated.

        without_replacement   distinct indices, each with its `inclusion` probability
        metric                of `Rows`: "norm", "leverage", or (d, d) numbers M
        scale, per_row        of sampler="softmax": the law exp(scale y_i); "sqrt" and "dim" are 1/sqrt(d) and 1/d
        names                 texts that may have been keys: what is drawn of them gets its `name`. O(names). Without it a
                              state tells the names that it has kept
        labels                labels[i] is the `label` of index i; a tuple of two where y is a matrix
        verify                put exact values in the place of estimates, from fixed operands that are at hand. None: where
                              that can be; True: raise ValueError where it cannot; False: leave the estimates. It reads a
                              fixed A once more, O(n d); an array of it must not have changed. Loaded states have none
        exact                 the truth beside each draw, or with verify=True in its place: for a state another one of the
                              same events with sampler="exact"; for a `Session` that was made with exact=True, True
        second_pass           of a `Session`: read the sources once more, for exact values
        """
        problem = self.problem
        for name, value in (("without_replacement", without_replacement), ("per_row", per_row), ("second_pass", second_pass)):
            _require_truth(name, value)
        if verify is not None:
            _require_truth("verify", verify)
        arguments = {
            "samples": whole("samples", samples, 1, 1_000_000),
            "threshold": real("threshold", threshold),
            "without_replacement": without_replacement,
            "metric": metric if metric is None or isinstance(metric, str) else _arrays.reals(metric, "metric"),
            "scale": _scale(scale, problem),
            "per_row": per_row,
            "verify": verify,
            "show_exact": exact is not None and exact is not False and verify is not True,
        }
        found = self._draw(arguments, exact, second_pass)
        # None where another rank has the answer.
        return None if found is None else draws(found, Names(problem.seed, names, labels, self._known_names(names)))  # type: ignore[return-value]

    def _known_names(self, given: Any) -> Optional[dict[int, str]]:
        """What is known of the names of indices where none are given."""
        return None

    def query(
        self,
        *,
        norm: bool = False,
        top: int = 0,
        points: Any = None,
        columns: Any = None,
        moments: Sequence[float] = (),
        inner: Any = None,
        names: Optional[Iterable[Any]] = None,
        labels: Any = None,
    ) -> AnswersT:
        """Estimates norm, entries, moments of y, or its inner product with that of another state. The norm, where
        nothing else is asked.

        top       how many of the largest entries
        points    (k,) keys, numbers or text, of entries; `columns` the second indices where y is a matrix
        moments   exponents q of sums |y_i|^q
        inner     a state of the same sketch and seed
        names, labels   as in `sample`; points that are text have their names
        """
        problem = self.problem
        _require_truth("norm", norm)
        exponents = moments if np.ndim(moments) else [moments]
        arguments: dict[str, Any] = {
            "norm": norm,
            "top": whole("top", top, 0, 1_000_000),
            "moments": [real("moments", exponent) for exponent in exponents],
        }
        shape = problem.shape
        if columns is not None and (points is None or len(shape) == 1):
            raise _core.UsageError("columns belong to points" if points is None else "y is a vector: expected no columns")
        if points is not None:
            if not isinstance(points, np.ndarray) or points.dtype.kind in "USO":
                points = list(points) if not isinstance(points, (str, bytes)) and np.ndim(points) else [points]
                if names is None and any(isinstance(point, (str, bytes)) for point in points):
                    names = points
            arguments["points"] = _arrays.keys(points, problem.seed, shape[0], "point")
            if len(shape) == 2 and columns is None:
                raise _core.UsageError("y is a matrix: expected columns, the second indices of the points")
            if columns is not None:
                arguments["columns"] = _arrays.keys(columns, problem.seed, shape[-1], "column")
                if arguments["columns"].size != arguments["points"].size:
                    raise _core.UsageError("expected as many columns as points")
        if inner is not None and not hasattr(inner, "_core"):
            raise _core.UsageError(f"inner is {shown(inner)}: expected a state")
        if not norm and not top and points is None and not arguments["moments"] and inner is None:
            arguments["norm"] = True
        found = self._find(arguments, None if inner is None else inner._core)
        return None if found is None else Answers(found, Names(problem.seed, names, labels, self._known_names(names)))  # type: ignore[return-value]


def _require_truth(name: str, value: Any) -> None:
    if not isinstance(value, (bool, np.bool_)):
        raise _core.UsageError(f"{name} is {shown(value)}: expected True or False")


def _scale(scale: Union[float, str], problem: "_core.Problem") -> float:
    if not isinstance(scale, str):
        return real("scale", scale)
    d = problem.sides.get("d", problem.sides.get("d1"))
    if scale not in ("sqrt", "dim") or d is None:
        raise _core.UsageError(f"scale is {scale!r}: expected a number" + ("" if d is None else ", sqrt or dim"))
    return 1 / (d**0.5 if scale == "sqrt" else d)
