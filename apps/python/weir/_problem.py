"""What is measured: a model, its sides, fixed operands, and the sketch."""

from __future__ import annotations

import os
import secrets
from typing import Any, Mapping, Optional, Union

import numpy as np

from . import _arrays, _core
from ._arguments import SEED_LIMIT, real, shown, whole

Fixed = Mapping[str, Union[np.ndarray, str, "os.PathLike[str]"]]

_KEEPS = {"perfect": "sketch", "precision": "sketch", "exact": "exact", "softmax": "exact-shared"}


class Problem:
    """What is to be measured, as far as arguments say it; a state or a `Session` completes it.

    model               "vector", "product", "kronecker" or "rows", as `weir sample --model`
    sides               n, d, n1, n2, d1, d2: the lengths that the model has. Without n a vector takes every key below 2^63
    fixed               operands that do not stream: {"x": array}; for a `Session` names of files, {"A": "keys.npy"}
    method              of "kronecker": "streaming", "two-stage" or "exact"
    sampler             "perfect" (a sketch), "exact", "softmax" (exact values in place of a sketch), "precision"
    purpose             what the sketch is sized for: "sample"; "query" (norm and points), "top", "moments", as
                        `weir query` sizes it
    samples, failure    how many draws are wanted, and the probability that fewer come out
    epsilon             relative error of the law, or of point answers
    p                   draw index i with probability |y_i|^p / sum |y|^p: 0.5, 1, 2, or 4
    without_replacement, threshold, randomness, rows, buckets, lanes, levels, resolution, precision_constant
                        as the options of `weir sample`
    gram, gram_buckets  "sketch" or "exact", and the size, where Gram matrices are kept
    metric              "leverage" sizes a state of rows for draws by leverage scores
    seed                0 to 2^64 - 1. States that are to be added need the same one. Drawn from the system unless given

    Raises ValueError for what contradicts itself.
    """

    def __init__(
        self,
        model: str = "vector",
        *,
        fixed: Optional[Fixed] = None,
        method: Optional[str] = None,
        sampler: str = "perfect",
        purpose: str = "sample",
        samples: int = 8,
        failure: float = 0.05,
        epsilon: float = 0.1,
        p: float = 2,
        without_replacement: bool = False,
        threshold: float = 1,
        randomness: Optional[str] = None,
        rows: Optional[int] = None,
        buckets: Optional[int] = None,
        lanes: Optional[int] = None,
        levels: Optional[int] = None,
        resolution: Optional[float] = None,
        precision_constant: Optional[float] = None,
        gram: Optional[str] = None,
        gram_buckets: Optional[int] = None,
        metric: Optional[str] = None,
        seed: Optional[int] = None,
        **sides: Optional[int],
    ) -> None:
        models = _core.models()
        if model not in models:
            raise _core.UsageError(f"unknown model {model!r}: expected one of {', '.join(sorted(models))}")
        for side in sides:
            if side not in models[model]:
                raise TypeError(f"{model!r} has no {side!r}: its sides are {', '.join(models[model])}")
        if sampler not in _KEEPS:
            raise _core.UsageError(f"sampler is {sampler!r}: expected one of {', '.join(_KEEPS)}")
        purposes = ("sample", "query", "top", "moments")
        if purpose not in purposes:
            raise _core.UsageError(f"purpose is {purpose!r}: expected one of {', '.join(purposes)}")
        if gram not in (None, "sketch", "exact"):
            raise _core.UsageError(f"gram is {gram!r}: expected sketch or exact")
        _require_between("failure", failure)
        _require_between("epsilon", epsilon)
        samples = whole("samples", samples, 1, 1_000_000)
        p = real("p", p)
        if p not in (0.5, 1, 2, 4):
            raise _core.UsageError(f"p is {p!r}: expected 0.5, 1, 2 or 4")
        if method == "exact":
            method, sampler = None, "softmax" if sampler == "softmax" else "exact"
        if sampler == "precision" and (without_replacement or p != 2):
            raise _core.UsageError("sampler='precision' draws with replacement, by |y_i|^2")
        if metric is not None and not (isinstance(metric, str) and metric in ("norm", "leverage")):
            raise _core.UsageError(f"metric is {shown(metric)}: expected norm or leverage; sample(metric=M) takes other metrics M")
        if sampler != "precision" and precision_constant is not None:
            raise _core.UsageError("precision_constant belongs to sampler='precision'")
        self.fixed: dict[str, Any] = dict(fixed or {})
        self.has_seed = seed is not None
        self._specification = _core.Specification(
            model,
            method,
            {side: whole(side, length, 1) for side, length in sides.items() if length is not None},
            list(self.fixed),
            _KEEPS[sampler],
            {
                "samples": samples,
                "failure": failure,
                "epsilon": epsilon,
                "p": p,
                "without_replacement": without_replacement,
                "threshold": real("threshold", threshold),
                "leverage": metric == "leverage",
                "for_answers": purpose != "sample",
                "with_top": purpose == "top",
                "with_moments": purpose == "moments",
                "rows": _size("rows", rows),
                "buckets": _size("buckets", buckets),
                "lanes": _size("lanes", lanes),
                "levels": _size("levels", levels),
                "gram_buckets": _size("gram_buckets", gram_buckets),
                "exact_gram": None if gram is None else gram == "exact",
                "randomness": randomness,
                "resolution": None if resolution is None else real("resolution", resolution),
                "precision_constant": real("precision_constant", 1 if precision_constant is None else precision_constant) if sampler == "precision" else None,
                # Below 2^53, so that every tool can repeat it.
                "seed": secrets.randbits(53) if seed is None else whole("seed", seed, 0, SEED_LIMIT),
            },
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        """The fixed operands as arrays; their shapes become sides."""
        arrays = {}
        for name, given in self.fixed.items():
            if isinstance(given, (str, os.PathLike)):
                given = np.load(given, mmap_mode="r", allow_pickle=False)
            if _arrays.is_sparse(given):
                given = given.toarray()
            array = _arrays.reals(given, name)
            if array.ndim not in (1, 2):
                raise _core.UsageError(f"{name} has {array.ndim} dimensions: expected 1 or 2")
            self._specification.take_shape(name, array.shape[0], 1 if array.ndim == 1 else array.shape[1])
            arrays[name] = array
        return arrays

    def _create(self) -> "_core.State":
        arrays = self._arrays()
        return _core.State(self._specification.complete(), arrays)


def _require_between(name: str, value: float) -> None:
    if not 0 < real(name, value) < 1:
        raise _core.UsageError(f"{name} is {value!r}: expected a number above 0 and below 1")


def _size(name: str, value: Any) -> Optional[int]:
    return None if value is None else whole(name, value, 1, (1 << 32) - 1)
