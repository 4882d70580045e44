"""Arguments that are numbers, as users of NumPy pass them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _core

SEED_LIMIT = (1 << 64) - 1
SIDE_LIMIT = 1 << 63


def shown(value: Any) -> str:
    """A value in a message: one line, not long."""
    return " ".join(repr(value).split())[:80]


def whole(name: str, value: Any, least: int = 0, most: int = SIDE_LIMIT) -> int:
    """A whole number: an int, one of NumPy's, or a float that is whole and below 2^53, where floats have every whole
    number. Raises ValueError otherwise, and outside of [least, most]."""
    number = None
    if isinstance(value, (float, np.floating)):
        if float(value).is_integer() and abs(value) < 1 << 53:
            number = int(value)
    elif not isinstance(value, (bool, np.bool_)) and hasattr(value, "__index__"):
        try:
            number = value.__index__()
        except TypeError:  # an array of several
            pass
    if number is None or not least <= number <= most:
        floats = ", as a float below 2^53" if isinstance(value, (float, np.floating)) else ""
        raise _core.UsageError(
            f"{name} is {shown(value)}: expected a whole number from {_power(least)} to {_power(most)}{floats}"
        )
    return number


def real(name: str, value: Any) -> float:
    """A finite number. Raises ValueError otherwise."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, (bool, np.bool_))
    try:
        if is_number and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise _core.UsageError(f"{name} is {shown(value)}: expected a finite number")


def _power(number: int) -> str:
    for power in (32, 63, 64):
        if number in (1 << power, (1 << power) - 1):
            return f"2^{power}" + (" - 1" if number % 2 else "")
    return f"{number:,}"
