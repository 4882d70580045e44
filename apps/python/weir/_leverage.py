"""Rows for regression, drawn by their leverage scores."""

from __future__ import annotations

import inspect
from typing import Any, Optional

import numpy as np

from . import _arrays, _core
from ._states import Rows


class LeverageSampler:
    """Draws the rows of X that matter to least squares, distinct and with their inclusion probabilities, from a sketch
    that takes X part by part. In the style of scikit-learn, which it does not need.

        sampler = LeverageSampler(200, seed=1)
        for part, target in parts:
            sampler.partial_fit(part, target)
        X, y, weights = sampler.rows_, sampler.targets_, sampler.weights_
        np.linalg.lstsq(X * np.sqrt(weights)[:, None], y * np.sqrt(weights), rcond=None)

    n_samples   rows that are wanted
    metric      "leverage", or "norm": by squared norms
    p           2 draws by the scores themselves, 1 by their roots (for losses other than squares)
    epsilon     relative error of the law; smaller means a larger sketch
    n           rows that will come at most: 2^32
    seed        drawn from the system unless given

    After `fit` or `partial_fit`: `indices_` (m,) row numbers, `rows_` (m, d) as the sketch recovers them, `targets_` (m,)
    where y was given (it streams as one more column), `inclusion_` and `weights_` = 1 / inclusion, `n_features_in_`,
    `state_`. They are worked out when they are first looked at.
    """

    def __init__(
        self,
        n_samples: int = 100,
        *,
        metric: str = "leverage",
        p: float = 2,
        epsilon: float = 0.1,
        n: int = 1 << 32,
        seed: Optional[int] = None,
    ) -> None:
        self.n_samples = n_samples
        self.metric = metric
        self.p = p
        self.epsilon = epsilon
        self.n = n
        self.seed = seed

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> "LeverageSampler":
        """Sets arguments of the constructor; `fit` uses them."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"no parameter {name!r}: expected one of {', '.join(self.get_params())}")
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: Any = None) -> "LeverageSampler":
        """Forgets what came before, and takes the rows of X (m, d), a scipy.sparse matrix or an array, with targets y
        (m,) or without."""
        for name in ("state_", "_drawn"):
            self.__dict__.pop(name, None)
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any = None) -> "LeverageSampler":
        """Takes further rows. They are numbered on."""
        if _arrays.is_sparse(X):
            X = X.toarray()
        rows = _arrays.reals(X, "X")
        if rows.ndim != 2:
            raise _core.UsageError(f"X has {rows.ndim} dimensions: expected rows of features")
        if y is not None:
            target = _arrays.reals(y, "y").ravel()
            if target.size != len(rows):
                raise _core.UsageError(f"X has {len(rows)} rows and y {target.size} numbers: expected as many")
            rows = np.column_stack([rows, target])
        if not hasattr(self, "state_"):
            self._has_targets = y is not None
            self.n_features_in_ = np.shape(X)[1]
            self.state_ = Rows(
                n=self.n,
                d=rows.shape[1],
                samples=self.n_samples,
                without_replacement=True,
                metric=self.metric,
                p=self.p,
                epsilon=self.epsilon,
                seed=self.seed,
            )
        if np.shape(X)[1] != self.n_features_in_ or (y is not None) != self._has_targets:
            raise _core.UsageError(
                f"X has {np.shape(X)[1]} features{'' if y is None else ' and targets'}: expected "
                f"{self.n_features_in_}{' and targets' if self._has_targets else ', no targets'}, as before"
            )
        first = self.state_.updates
        self.state_.update_rows(np.arange(first, first + len(rows), dtype=np.uint64), rows)
        self.__dict__.pop("_drawn", None)
        return self

    def _draws(self) -> Any:
        if not hasattr(self, "state_"):
            raise _core.UsageError("no rows yet: expected fit() first")
        if "_drawn" not in self.__dict__:
            self._drawn = self.state_.sample(self.n_samples, without_replacement=True, metric=self.metric)
        return self._drawn

    @property
    def indices_(self) -> np.ndarray:
        return self._draws()["index"].astype(np.int64)

    @property
    def rows_(self) -> np.ndarray:
        return self._all_rows()[:, : self.n_features_in_]

    @property
    def targets_(self) -> Optional[np.ndarray]:
        rows = self._all_rows()
        return rows[:, -1] if self._has_targets else None

    @property
    def inclusion_(self) -> np.ndarray:
        return self._draws()["inclusion"]

    @property
    def weights_(self) -> np.ndarray:
        return 1 / self._draws()["inclusion"]

    def _all_rows(self) -> np.ndarray:
        found = self._draws().rows
        return np.empty((0, self.state_.problem.sides["d"])) if found is None else found

    def transform(self, X: Any) -> np.ndarray:
        """The drawn rows of X itself, exact: X has all rows that were fitted. Raises ValueError where it has another number
        of rows or features."""
        self._draws()
        expected = (self.state_.updates, self.n_features_in_)
        if np.shape(X) != expected:
            raise _core.UsageError(f"X has the shape {np.shape(X)}: expected that of all rows that were fitted, {expected}")
        return X[self.indices_]

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """fit(X, y).transform(X)."""
        return self.fit(X, y).transform(X)

    def __repr__(self) -> str:
        return f"LeverageSampler({', '.join(f'{k}={v!r}' for k, v in self.get_params().items())})"
