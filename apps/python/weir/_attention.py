"""Softmax attention over tokens that stream."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Union

import numpy as np

from . import _arrays, _core
from ._arguments import SEED_LIMIT, real, whole
from ._states import _KINDS, State


class Attended(NamedTuple):
    """What `Attention.attend` answers: outputs (queries, dv), and the estimated relative error of each (queries,),
    which is empty unless it was asked for. Three times the estimate covers the true error of 99% of queries."""

    outputs: np.ndarray
    errors: np.ndarray
    fallbacks: int


class Attention(State):
    """softmax(scale Q K^T) V while keys and values stream, from a state of at most `budget` bytes: a KV cache that
    does not grow.

    queries, keys, values   (m, d), (m, d), (m, dv): rows to fit the features to, 512 or so that look like the stream.
                            They are not part of the stream; add them with `update_rows` too if they are
    budget                  bytes
    scale                   "sqrt" (1/sqrt(d)), "dim" (1/d), or a number
    tokens                  token numbers are below it
    expected                tokens that the stream is thought to have; errors grow little when it is wrong
    automatic               choose clusters, exact rows and directions by trying, as `weir attend --auto`

    Heads whose scores vary in more than 20 directions (`varied_directions`) are no good for it.
    """

    #: Directions in which scores vary, as the rows of the calibration show. None in a state that was loaded.
    varied_directions: Optional[int] = None

    def __init__(
        self,
        queries: Any,
        keys: Any,
        values: Any,
        *,
        budget: int = 65536,
        scale: Union[float, str] = "sqrt",
        tokens: int = 1 << 40,
        expected: int = 4096,
        automatic: bool = False,
        seed: int = 0,
    ) -> None:
        rows = [_matrix(rows, name) for rows, name in ((queries, "queries"), (keys, "keys"), (values, "values"))]
        d = rows[1].shape[1]
        if isinstance(scale, str):
            if scale not in ("sqrt", "dim"):
                raise _core.UsageError(f"scale is {scale!r}: expected sqrt, dim or a number")
            scale = 1 / (d**0.5 if scale == "sqrt" else d)
        problem, operand, calibration, self.varied_directions = _core.fit_attention(
            *rows,
            whole("tokens", tokens, 1),
            real("scale", scale),
            whole("budget", budget, 1),
            whole("expected", expected, 1),
            automatic,
            whole("seed", seed, 0, SEED_LIMIT),
        )
        self._core = _core.State(problem, {operand: calibration})

    def update_rows(  # type: ignore[override]
        self, i: Any, keys: Any, values: Any = None, *, weights: Any = 1, operand: Optional[str] = None
    ) -> "Attention":
        """Tokens i[t] with the rows of keys (k, d) and values (k, dv) come; with weights -1 they leave, with the
        numbers that they came with. i None: the next ones, from the number of `updates` on."""
        both = _matrix(keys, "keys")
        if values is not None:
            second = _matrix(values, "values")
            if len(both) != len(second):
                raise _core.UsageError(f"{len(both)} keys and {len(second)} values: expected as many")
            both = np.hstack([both, second])
        if i is None:
            i = np.arange(self.updates, self.updates + len(both), dtype=np.uint64)
        super().update_rows(i, both, weights=weights, operand=operand)
        return self

    def attend(self, queries: Any, *, errors: bool = False) -> Attended:
        """Softmax averages of the values at queries (m, d), without the scale. Raises ValueError when no token is in
        the state."""
        return Attended(*_core.attend(self._core, _matrix(queries, "queries"), errors))


def _matrix(rows: Any, name: str) -> np.ndarray:
    array = _arrays.reals(rows, name)
    if array.ndim == 1:
        array = array[np.newaxis, :]
    if array.ndim != 2:
        raise _core.UsageError(f"{name} have {array.ndim} dimensions: expected rows")
    return array


_KINDS["attention"] = Attention
