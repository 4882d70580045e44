"""Answers: structured arrays, which pandas.DataFrame takes, that know what they are about."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Optional

import numpy as np

from . import _core, _plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Estimate(NamedTuple):
    """A number and its error: |value - truth| <= bound with probability 0.99. The bound is 0 where the number is exact,
    infinite where nothing is known of it."""

    value: float
    bound: float

    def __repr__(self) -> str:
        if not math.isfinite(self.bound):
            return "not known"
        return _number(self.value, self.bound) + (f" +- {_rounded_up(self.bound)}" if self.bound else ", exact")

    def __float__(self) -> float:
        return self.value


class Table(np.ndarray):
    """A structured array, one record an entry. `about` has what concerns them all. Slices of it are tables, too."""

    about: dict[str, Any]

    def __array_finalize__(self, made_from: Any) -> None:
        self.about = getattr(made_from, "about", {})

    def __getitem__(self, item: Any) -> Any:
        found = super().__getitem__(item)
        # One field, or another set of them, is an array like any other.
        return found.view(np.ndarray) if isinstance(found, Table) and found.dtype != self.dtype else found

    def __reduce__(self) -> Any:
        return (_make, (type(self), self.view(np.ndarray).copy(), self.about))

    def _heading(self) -> list[str]:
        return [] if len(self) else ["none"]

    def __repr__(self) -> str:
        return "\n".join(self._heading() + (_text_table(self.view(np.ndarray)) if len(self) else []))

    __str__ = __repr__


class Draws(Table):
    """Draws of `State.sample`: fields `index` (or `i1` and `i2` where y is a matrix), `value`, `value_bound`,
    `probability`, `probability_bound`, `lane`; where they apply `inclusion`, `exact_value`, `exact_probability`,
    `name` or `label`. A bound is exceeded with probability 0.01; it is 0 where the number is exact, NaN where its
    error is not known. Fewer may come than were asked for: `failed` says why."""

    @property
    def norm(self) -> Estimate:
        """||y||_2, for rows the root of the sum of all a^T M a."""
        return Estimate(self.about["norm"], self.about["norm_bound"])

    @property
    def norm_p(self) -> Optional[Estimate]:
        """(sum |y_i|^p)^(1/p), where p is not 2 and without replacement."""
        found = self.about.get("norm_p")
        return None if found is None else Estimate(**found)

    @property
    def exact_norm(self) -> Optional[float]:
        """||y||_2 where it is known exactly."""
        return self.about.get("exact_norm")

    @property
    def verified(self) -> bool:
        """True where values and probabilities are exact."""
        return self.about["verified"]

    @property
    def zero_vector(self) -> bool:
        """True where y is zero: there is nothing to draw."""
        return self.about["zero_vector"]

    @property
    def failed(self) -> list[tuple[int, str]]:
        """Lanes without a draw, (lane, reason)."""
        return self.about["failed"]

    @property
    def rows(self) -> Optional[np.ndarray]:
        """The drawn rows of `Rows`, float64 of (draws, d); of all draws also where this is a slice."""
        return self.about.get("rows")

    def _heading(self) -> list[str]:
        if self.zero_vector:
            return ["nothing to draw: y is the zero vector"]
        lines = [f"{len(self)} draws, norm {self.norm!r}" + (", verified" if self.verified else "")]
        if len(self.failed):
            counts: dict[str, int] = {}
            for _, reason in self.failed:
                counts[reason] = counts.get(reason, 0) + 1
            lines.append("lanes without a draw: " + ", ".join(f"{count} {reason}" for reason, count in counts.items()))
        return lines

    def plot(self, ax: Any = None, most: int = 40) -> "Figure":
        """Probabilities of the most probable distinct draws, with their bounds and how often each came. Returns the
        figure of Matplotlib, on `ax` where it is given."""
        return _plots.draws(self, ax, most)


class Coordinates(Table):
    """Entries of y: fields `index` (or `i1`, `i2`), `value`, `bound`, and `name` or `label` where they were given."""

    def plot(self, ax: Any = None, most: int = 40) -> "Figure":
        """Values with their bounds. Returns the figure of Matplotlib."""
        return _plots.coordinates(self, ax, most)


class Answers:
    """What `State.query` found; what was not asked for is None.

    norm      Estimate of ||y||_2, for rows of ||A||_F      top, points   Coordinates
    moments   structured array of p, value, bound           inner         Estimate of <y, z>
    """

    def __init__(self, found: Mapping[str, Any], names: "Names") -> None:
        self.norm: Optional[Estimate] = Estimate(**found["norm"]) if "norm" in found else None
        self.top: Optional[Coordinates] = _table(Coordinates, found["top"], {}, names) if "top" in found else None
        self.points: Optional[Coordinates] = (
            _table(Coordinates, found["points"], {}, names) if "points" in found else None
        )
        self.moments: Optional[np.ndarray] = _records(found["moments"]) if "moments" in found else None
        self.inner: Optional[Estimate] = Estimate(**found["inner"]) if "inner" in found else None

    def __repr__(self) -> str:
        lines = [f"{name}: {getattr(self, name)!r}" for name in ("norm", "inner") if getattr(self, name) is not None]
        if self.moments is not None:
            lines += [f"sum |y_i|^{p:g}: {Estimate(value, bound)!r}" for p, value, bound in self.moments.tolist()]
        for name in ("top", "points"):
            if getattr(self, name) is not None:
                lines += [f"{name}:", repr(getattr(self, name))]
        return "\n".join(lines)

    def plot(self, ax: Any = None, most: int = 40) -> "Figure":
        """Values of `top`, or else of `points`, with their bounds. Raises ValueError where neither was asked for."""
        table = self.top if self.top is not None else self.points
        if table is None:
            raise _core.UsageError("nothing to plot: expected top or points in the question")
        return table.plot(ax, most)


class Names:
    """The names of indices: of candidates that are text, by their hash; or of places, by lists."""

    def __init__(
        self, seed: int, names: Any = None, labels: Any = None, known: Optional[Mapping[int, str]] = None
    ) -> None:
        self._of_keys: Optional[Mapping[int, Any]] = known
        if names is not None:
            items = [_plain(name) for name in ([names] if isinstance(names, (str, bytes)) else names)]
            self._of_keys = dict(zip(_core.keys_of(seed, items).tolist(), items))
        self._labels = labels if isinstance(labels, tuple) else () if labels is None else (labels,)

    def columns(self, places: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The further fields for `places`, the fields that are indices."""
        found = {}
        first = next(iter(places.values()))
        if self._of_keys is not None:
            found["name"] = _objects([self._of_keys.get(key) for key in first.tolist()])
        for number, (labels, index) in enumerate(zip(self._labels, places.values())):
            found["label" if number == 0 else "label2"] = _objects(
                [_plain(labels[key]) if key < len(labels) else None for key in index.tolist()]
            )
        return found


def draws(found: Mapping[str, Any], names: Names) -> Draws:
    fields = dict(found["draws"])
    about = fields.pop("about")
    if "rows" in fields:
        about["rows"] = fields.pop("rows")
    return _table(Draws, fields, about, names)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _make(kind: type, array: np.ndarray, about: dict[str, Any]) -> Any:
    table = array.view(kind)
    table.about = about
    return table


def _records(fields: Mapping[str, np.ndarray]) -> np.ndarray:
    count = len(next(iter(fields.values())))
    array = np.empty(count, dtype=[(name, values.dtype) for name, values in fields.items()])
    for name, values in fields.items():
        array[name] = values
    return array


def _table(kind: type, fields: Mapping[str, np.ndarray], about: dict[str, Any], names: Names) -> Any:
    rest = dict(fields)
    index, column = rest.pop("index"), rest.pop("column", None)
    lane = rest.pop("lane", None)
    places = {"index": index} if column is None else {"i1": index, "i2": column}
    ordered = {**places, **names.columns(places), **rest}
    if lane is not None:
        ordered["lane"] = lane
    return _make(kind, _records(ordered), about)


def _text_table(array: np.ndarray, most: int = 20) -> list[str]:
    names = [name for name in array.dtype.names or () if name != "lane"]
    shown = array[:most]
    # What is exact needs no column of zeros.
    names = [name for name in names if "bound" not in name or (shown[name] != 0).any()]
    columns = [[name] + _cells(shown, name) for name in names]
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in zip(*columns)]
    if len(array) > most:
        lines.append(f"... and {len(array) - most} more")
    return lines


def _cells(array: np.ndarray, name: str) -> list[str]:
    fields = array.dtype.names or ()
    values = array[name].tolist()
    if array.dtype[name].kind != "f":
        return ["-" if value is None else str(value)[:40] for value in values]
    if "bound" in name:
        return [_rounded_up(value) if math.isfinite(value) else "-" for value in values]
    of_name = f"{name}_bound" if f"{name}_bound" in fields else "bound" if name == "value" and "bound" in fields else None
    # Without a bound: exact values, and shares.
    bounds = array[of_name].tolist() if of_name else [0.0 if "value" in name else abs(value) * 1e-4 for value in values]
    return [
        _number(value, bound) if math.isfinite(value) and math.isfinite(bound) else "-" for value, bound in zip(values, bounds)
    ]


def _number(value: float, bound: float) -> str:
    """With as many digits as the bound is good for, and six at least: rounding takes up a thousandth of it. An exact
    number has twelve, or all where it is whole."""
    if bound == 0:
        return str(int(value)) if value.is_integer() and abs(value) < 1 << 53 else f"{value:.12g}"
    digits = 6 if value == 0 else math.ceil(math.log10(abs(value)) - math.log10(bound)) + 4
    return f"{value:.{min(max(digits, 6), 17)}g}"


def _rounded_up(bound: float) -> str:
    """To two digits, and never below the bound."""
    text = f"{bound:.2g}"
    if float(text) >= bound:
        return text
    unit = 10.0 ** (math.floor(math.log10(bound)) - 1)
    return f"{(math.floor(bound / unit) + 1) * unit:.2g}"
