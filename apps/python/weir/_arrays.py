"""What users pass, as arrays that lie in memory as weir reads them: uint64 keys and float64 numbers, row after row.

Arrays that are so already are not copied, memory maps among them."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from . import _core

#: Text is hashed to keys below this number, so that a state takes text keys if its side is as long.
KEY_LIMIT = 1 << 63


def _is_pandas(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "pandas"


def reals(values: Any, what: str = "deltas") -> np.ndarray:
    """float64, contiguous. Whole numbers that a double cannot hold are refused, never rounded."""
    array = np.asarray(values.to_numpy() if _is_pandas(values) else values)
    if array.dtype.kind == "O":
        try:
            array = np.asarray(array.tolist())
        except ValueError:
            array = array[:0]
    if array.dtype.kind not in "fiub":
        raise _core.InputError(f"{what} are of the type {np.asarray(values).dtype}: expected numbers")
    out = np.ascontiguousarray(array, dtype=np.float64)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size and np.abs(out).max() >= 2**53:
        # The comparison is of whole numbers: Python's have any length.
        for place, number in enumerate(array.ravel().tolist()):
            if int(out.ravel()[place]) != number:
                raise _core.InputError(f"{what}[{place}] is {number}: a double cannot hold it")
    return out


def keys(values: Any, seed: int, limit: int, what: str = "key") -> np.ndarray:
    """uint64, contiguous: whole numbers as they are, text and bytes by the hash that `seed` keys.

    `limit` is the length of the side that the keys index, which has to be 2^63 for text."""
    if _is_pandas(values):
        if str(getattr(values, "dtype", "")) == "category":
            codes = np.asarray(values.cat.codes if hasattr(values, "cat") else values.codes)
            categories = values.cat.categories if hasattr(values, "cat") else values.categories
            if codes.size and codes.min() < 0:
                raise _core.InputError(f"{what} {int(np.argmin(codes))} is missing: expected text or a whole number")
            return keys(categories.to_numpy(), seed, limit, what)[codes]
        values = values.to_numpy()
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        values = [values]
    if isinstance(values, np.ndarray):
        array = values.ravel()
        if array.dtype.kind == "i":
            wide = np.ascontiguousarray(array, dtype=np.int64)
            return wide.view(np.uint64)
        if array.dtype.kind == "u":
            return np.ascontiguousarray(array, dtype=np.uint64)
        if array.dtype.kind not in "USO":
            raise _core.InputError(f"keys are of the type {array.dtype}: expected whole numbers or text")
        values = array.tolist()
    items = values if isinstance(values, (list, tuple)) else list(values)
    found = _core.keys_of(seed, items)
    if limit < KEY_LIMIT and found.size and found.max() >= limit:
        place = int(np.argmax(found >= limit))
        if isinstance(items[place], (str, bytes)):
            raise _core.InputError(
                f"{what} {place} is {items[place]!r}: text is hashed to 63 bits and needs a side of 2^63, which is the default "
                f"where none is given; this one is {limit}"
            )
    return found


def texts(values: Any) -> Optional[tuple[Any, Optional[np.ndarray]]]:
    """The keys that may be text, as a sequence, and of categories which of them each event has, uint64; None where all are
    numbers."""
    if _is_pandas(values):
        if str(getattr(values, "dtype", "")) == "category":
            codes = np.asarray(values.cat.codes if hasattr(values, "cat") else values.codes)
            categories = values.cat.categories if hasattr(values, "cat") else values.categories
            return categories.tolist(), codes.astype(np.uint64)
        values = values.to_numpy()
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        values = [values]
    if isinstance(values, np.ndarray):
        return (values.ravel().tolist(), None) if values.dtype.kind in "USO" else None
    return values, None


def refuse_negative(array: Any, found: np.ndarray, error: Exception) -> None:
    """Says of an error about a key beyond its side that it is a negative number."""
    signed = found.view(np.int64)
    if not isinstance(array, np.ndarray) or array.dtype.kind != "i" or not found.size or signed.min() >= 0:
        return
    place = int(np.argmax(signed < 0))
    raise _core.InputError(f"update {place} of the batch: key {signed[place]} is negative") from error


def same_length(values: np.ndarray, count: int) -> np.ndarray:
    """One number stands for all of them."""
    if values.ndim == 0 or (values.size == 1 and count != 1):
        return np.full(count, values.ravel()[0])
    return values.ravel()


def is_sparse(value: Any) -> bool:
    """A matrix of scipy.sparse."""
    return type(value).__module__.startswith("scipy.sparse")
