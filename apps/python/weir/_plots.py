"""Figures of answers. Matplotlib is imported when one is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np


def _axes(ax: Any, bars: int) -> Any:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # Not of pyplot: nothing is left behind that the caller would have to close.
    return Figure(figsize=(7, 1 + 0.24 * max(bars, 4)), layout="constrained").subplots()


def _name(table: Any, place: int) -> str:
    record = table.view(np.ndarray)[place]
    for field in ("name", "label"):
        if field in table.dtype.names and record[field] is not None:
            return str(record[field])[:40]
    if "i1" in table.dtype.names:
        return f"{record['i1']}, {record['i2']}"
    return str(record["index"])


def _bars(ax: Any, names: list[str], values: np.ndarray, bounds: np.ndarray, label: str) -> None:
    places = np.arange(len(names))
    known = np.where(np.isfinite(bounds), bounds, 0)
    ax.barh(places, values, xerr=known if known.any() else None, color="#4878a8", ecolor="#333333", capsize=2)
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.set_xlabel(label)


def draws(table: Any, ax: Any, most: int) -> Any:
    fields = [field for field in ("i1", "i2", "index") if field in table.dtype.names]
    _, first, counts = np.unique(table.view(np.ndarray)[fields], return_index=True, return_counts=True)
    order = np.argsort(-table["probability"][first], kind="stable")[:most]
    shown = first[order]
    ax = _axes(ax, len(shown))
    names = [_name(table, place) for place in shown]
    times = [f"{name}  x{count}" if count > 1 else name for name, count in zip(names, counts[order])]
    _bars(ax, times, table["probability"][shown], table["probability_bound"][shown], "probability")
    if "exact_probability" in table.dtype.names:
        ax.plot(table["exact_probability"][shown], np.arange(len(shown)), "k|", markersize=10, label="exact")
        ax.legend()
    ax.set_title(f"{len(table)} draws")
    return ax.figure


def coordinates(table: Any, ax: Any, most: int) -> Any:
    shown = range(min(len(table), most))
    ax = _axes(ax, len(shown))
    _bars(ax, [_name(table, place) for place in shown], table["value"][:most], table["bound"][:most], "value")
    return ax.figure
