"""States: what is kept of a stream."""

from __future__ import annotations

import os
from typing import Any, Mapping, Optional, TypeVar, Union

import numpy as np

from . import _arrays, _core
from ._arguments import SEED_LIMIT, shown, whole
from ._problem import Problem
from ._questions import Asked
from ._results import Answers, Draws

Kind = TypeVar("Kind", bound="State")


class State(Asked[Draws, Answers]):
    """What is kept of a stream: a small value that is updated, added, subtracted, scaled, saved and asked.

    The constructors are `Vector`, `Product`, `Kronecker`, `Rows` and `Attention`; `weir.load` reads any of them.
    States of one problem and one seed combine: `a + b` is the state of both streams, `a - b` of their difference, and
    `0.5 * a` counts each event half. A saved state is a file that `weir sample --state` takes, to the same bytes.

    Threads may ask one state at once, and the GIL is released meanwhile; updates wait for one another. The fast way
    with threads, or ranks, is a state each, and one sum at the end.
    """

    _core: "_core.State"

    def __init__(self, problem: Problem) -> None:
        self._core = problem._create()

    # What it is.

    @property
    def problem(self) -> "_core.Problem":
        """What is measured: sides, seed, sketch. Two states combine if theirs are equal."""
        return self._core.problem

    @property
    def seed(self) -> int:
        """Chooses the random functions; whoever knows it can build keys that collide."""
        return self._core.problem.seed

    @property
    def shape(self) -> tuple[int, ...]:
        """(n,), or (n1, n2) where y is a matrix."""
        return tuple(self._core.problem.shape)

    @property
    def updates(self) -> int:
        """Events that were added, a whole row being one."""
        return self._core.updates

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self._core.nbytes

    @property
    def exact_sums(self) -> bool:
        """False when a sum shows that it was rounded, so that the last bits may depend on the order of events."""
        return self._core.has_exact_sums()

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of the numbers that are kept, float64, by their names. O(nbytes)."""
        return self._core.arrays()

    # What changes it.

    def update(self, keys: Any, deltas: Any = 1, columns: Any = None, *, operand: Optional[str] = None) -> "State":
        """Adds deltas[t] to entry keys[t] of y, or of `operand`. Returns the state.

        keys      (k,) whole numbers from 0, or text: a list, an array, a column of pandas, categorical or not; or a
                  scipy.sparse matrix, whose entries are the updates. Text is hashed to 63 bits and keyed by the seed
                  (`weir.hash_keys`), and needs a side of 2^63, the default of `Vector`
        deltas    (k,) finite numbers, or one for all of them
        columns   (k,) column numbers, where the operand is a matrix
        operand   which one changes, "x" or "A"; by default the first that streams

        Contiguous arrays of uint64, int64 and float64 are read where they are, memory maps too. Batches of a thousand
        and more are fastest. Raises ValueError for what is not a key or a number, with nothing added.
        """
        shape = self._operand(operand)
        if _arrays.is_sparse(keys):
            return self._update_sparse(keys, shape)
        if hasattr(keys, "__next__"):
            keys = list(keys)
        found = _arrays.keys(keys, self.seed, shape["rows"])
        numbers = _arrays.same_length(_arrays.reals(deltas), found.size)
        if shape["columns"] is None and columns is not None:
            raise _core.UsageError(f"{shape['name']} is a vector: expected no columns")
        if shape["columns"] is not None and columns is None:
            raise _core.UsageError(f"{shape['name']} is a matrix: expected columns, or update_rows")
        second = None if columns is None else _arrays.keys(columns, self.seed, shape["columns"], "column")
        if second is not None and second.size == 1 and found.size != 1:
            second = np.full(found.size, second[0])
        try:
            self._core.add_entries(shape["name"], found, second, numbers)
        except _core.InputError as error:
            _arrays.refuse_negative(keys, found, error)
            raise
        texts = _arrays.texts(keys) if shape["rows"] == _arrays.KEY_LIMIT and self._names_rows_of(shape) else None
        if texts is not None and found.size:
            self._core.note_names(texts[0], texts[1], found, numbers)
        return self

    def _names_rows_of(self, shape: Mapping[str, Any]) -> bool:
        """Whether rows of the operand are what names are kept of: the first that streams."""
        return shape["name"] == self._operand(None)["name"]

    @property
    def names(self) -> dict[int, str]:
        """The names of the heaviest keys that were text, 16,384 at most, by their indices. They are saved with the state, and
        added up with it; what is drawn gets them. A key with a share f of all |deltas| is among them with probability
        1 - (1 - f)^16384 at least."""
        return {index: name.decode(errors="replace") for index, name in self._core.names().items()}

    def update_rows(
        self, i: Any, rows: Any, *, weights: Any = 1, operand: Optional[str] = None
    ) -> "State":
        """Adds weights[t] * rows[t, :] to row i[t] of a matrix operand. Each row is one event. Returns the state.

        i         (k,) row numbers or text, as in `update`; None: 0, 1, 2, ...
        rows      (k, d) finite numbers, or a scipy.sparse matrix, of which some thousand rows at a time are unpacked
        weights   (k,) 1 for a row that comes, -1 for one that leaves; or one for all of them
        operand   by default the first matrix that streams
        """
        shape = self._operand(operand, matrix=True)
        count = rows.shape[0] if hasattr(rows, "shape") and len(rows.shape) else len(rows)
        found = np.arange(count, dtype=np.uint64) if i is None else _arrays.keys(i, self.seed, shape["rows"])
        signs = _arrays.same_length(_arrays.reals(weights, "weights"), found.size)
        if not _arrays.is_sparse(rows):
            values = _arrays.reals(rows, "rows")
            if values.ndim == 1 and found.size == 1:
                values = values[np.newaxis, :]
            if values.ndim != 2 or values.shape[0] != found.size:
                raise _core.UsageError(f"rows have the shape {values.shape}: expected ({found.size}, d)")
            self._core.add_rows(shape["name"], found, values, signs)
            return self
        packed = rows.tocsr()
        if packed.shape[0] != found.size or packed.shape[1] != shape["columns"]:
            raise _core.UsageError(
                f"rows have the shape {packed.shape}: expected {(found.size, shape['columns'])}"
            )
        _arrays.reals(packed.data, "rows")
        _require_finite(packed.data)
        at_once = max(1, (1 << 20) // max(1, packed.shape[1]))
        for first in range(0, found.size, at_once):
            part = slice(first, first + at_once)
            self._core.add_rows(shape["name"], found[part], _arrays.reals(packed[part].toarray()), signs[part])
        return self

    def clear(self) -> None:
        """As if no event had come: fixed operands stay."""
        self._core.clear()

    # What it answers: sample() and query() of Asked.

    def _known_names(self, given: Any) -> Optional[dict[int, str]]:
        return (self.names or None) if given is None else None

    def _draw(self, arguments: Mapping[str, Any], exact: Any, second_pass: bool) -> dict[str, Any]:
        if second_pass:
            raise _core.UsageError("second_pass belongs to a Session: a state does not know its streams")
        if exact is not None and not isinstance(exact, State):
            raise _core.UsageError(f"exact is {shown(exact)}: expected a state with sampler='exact'")
        return self._core.sample(arguments, None if exact is None else exact._core)

    def _find(self, arguments: Mapping[str, Any], inner: Any) -> dict[str, Any]:
        return self._core.query(arguments, inner)

    # Files and bytes.

    def save(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Writes a .weir file, under a temporary name until it is whole. Raises ValueError where that fails."""
        self._core.save(os.fspath(path))

    @classmethod
    def load(cls: type[Kind], path: Union[str, "os.PathLike[str]"]) -> Kind:
        """Reads a .weir file, made by this package or by the program: of any model as `State.load`, of one as
        `Vector.load`. Raises ValueError for a file of another one."""
        if isinstance(path, (bytes, bytearray, memoryview)):
            raise _core.UsageError("load takes the path of a file: State.from_bytes takes bytes")
        return cls._own(_core.State.load(os.fspath(path)), os.fspath(path), "load")

    @classmethod
    def from_bytes(cls: type[Kind], data: Union[bytes, bytearray, memoryview]) -> Kind:
        """The inverse of `bytes(state)`: of any model as `State.from_bytes`, of one as `Vector.from_bytes`. Raises
        ValueError for bytes that are no whole state, or one of another model."""
        return cls._own(_core.State.from_bytes(data, "bytes"), "bytes", "from_bytes")

    @classmethod
    def _own(cls: type[Kind], core: "_core.State", what: str, method: str) -> Kind:
        state = _wrap(core)
        if not isinstance(state, cls):
            found = type(state).__name__
            raise _core.InputError(
                f"{what}: a state of weir.{found}, not of weir.{cls.__name__}: expected weir.{found}.{method}, or "
                f"weir.State.{method} for any of them"
            )
        return state

    def __bytes__(self) -> bytes:
        return self._core.to_bytes()

    def __reduce__(self) -> Any:
        return (State.from_bytes, (bytes(self),))

    def copy(self) -> "State":
        """A state of its own, equal to this one."""
        return _wrap(self._core.copy())

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> "State":
        return self.copy()

    def as_vector(self) -> "State":
        """The sketch of y alone, as a `Vector`, whatever y was made from."""
        return _wrap(self._core.as_vector())

    # Linear algebra.

    def __iadd__(self, other: "State") -> "State":
        if not isinstance(other, State):
            return NotImplemented
        self._core.combine(other._core, 1.0)
        return self

    def __isub__(self, other: "State") -> "State":
        if not isinstance(other, State):
            return NotImplemented
        self._core.combine(other._core, -1.0)
        return self

    def __imul__(self, factor: float) -> "State":
        if not _is_number(factor):
            return NotImplemented
        self._core.scale(float(factor))
        return self

    def __add__(self, other: "State") -> "State":
        return self.copy().__iadd__(other)

    def __radd__(self, other: Any) -> "State":
        # sum() begins with 0.
        return self.copy() if _is_number(other) and other == 0 else NotImplemented

    def __sub__(self, other: "State") -> "State":
        return self.copy().__isub__(other)

    def __mul__(self, factor: float) -> "State":
        return self.copy().__imul__(factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "State":
        return self.copy().__imul__(1 / divisor) if _is_number(divisor) else NotImplemented

    def __neg__(self) -> "State":
        return self * -1

    def __repr__(self) -> str:
        problem = self._core.problem
        words = [f"{name} = {_side(length)}" for name, length in problem.sides.items()]
        for operand in problem.traits["operands"]:
            if operand["role"] == "fixed":
                words.append(f"{operand['name']} fixed")
        if problem.keeps == "sketch" and problem.sides and problem.traits["sides_of_y"] and problem.sketch["buckets"]:
            sketch = problem.sketch
            words.append(f"p = {problem.p:g}")
            words.append("{rows} rows x {buckets} buckets x {lanes} lanes".format(**sketch))
        else:
            words.append("exact values")
        words += [f"{_size(self.nbytes)}", f"seed {self.seed}", f"{self.updates:,} updates"]
        return f"<weir.{type(self).__name__}: {', '.join(words)}>"

    # Helpers.

    def _operand(self, name: Optional[str], matrix: bool = False) -> dict[str, Any]:
        operands = self._core.problem.traits["operands"]
        streams = [operand for operand in operands if operand["role"] in ("streams", "forgotten")]
        if name is None:
            fitting = [operand for operand in streams if operand["columns"] is not None or not matrix]
            if fitting:
                return fitting[0]
            raise _core.UsageError(
                "nothing streams" if not streams else f"{streams[0]['name']} is a vector: expected update()"
            )
        for operand in operands:
            if operand["name"] == name:
                return operand
        raise _core.UsageError(
            f"no operand {name!r}: expected {' or '.join(operand['name'] for operand in streams) or 'none'}"
        )

    def _update_sparse(self, matrix: Any, shape: dict[str, Any]) -> "State":
        entries = matrix.tocoo()
        numbers = _arrays.reals(entries.data)
        if shape["columns"] is None:
            if 1 not in entries.shape:
                raise _core.UsageError(f"{shape['name']} is a vector, and the matrix is {entries.shape}")
            along = entries.row if entries.shape[1] == 1 else entries.col
            self._core.add_entries(shape["name"], _arrays.keys(along, 0, shape["rows"]), None, numbers)
            return self
        i, j = (_arrays.keys(index, 0, shape["rows"]) for index in (entries.row, entries.col))
        self._core.add_entries(shape["name"], i, j, numbers)
        return self


class Vector(State):
    """y is the stream itself: `Vector(n=1000, seed=7).update([7, 300], [3, 5]).sample(8)`.

    n is the length of y; without it every key below 2^63 is taken, text among them. Options: see `Problem`.
    """

    def __init__(self, n: Optional[int] = None, **options: Any) -> None:
        super().__init__(Problem("vector", n=n, **options))


class Product(State):
    """y = A x, never formed. Either operand streams, or both; `fixed={"x": array}` gives one whole, (n, d) or (d,).

    `update(i, deltas, columns)` changes entries of A, `update_rows(i, rows)` whole rows, `update(j, deltas,
    operand="x")` entries of x. Options: see `Problem`.
    """

    def __init__(self, n: Optional[int] = None, d: Optional[int] = None, **options: Any) -> None:
        super().__init__(Problem("product", n=n, d=d, **options))


class Kronecker(State):
    """y = (A1 (x) A2) vec X, the matrix A1 X A2^T of n1 x n2 entries, never formed. Pairs (i1, i2) are drawn.

    `update_rows(i, rows, operand="A1")`; `fixed` may have A1 (n1, d1), A2 (n2, d2) and X (d1, d2), which is the
    identity where it neither streams nor is given. Options: see `Problem`.
    """

    def __init__(
        self,
        n1: Optional[int] = None,
        n2: Optional[int] = None,
        d1: Optional[int] = None,
        d2: Optional[int] = None,
        **options: Any,
    ) -> None:
        super().__init__(Problem("kronecker", n1=n1, n2=n2, d1=d1, d2=d2, **options))


class Rows(State):
    """Whole rows a of a streamed A (n, d) are drawn, with probability a^T M a / tr(M A^T A).

    `update_rows(i, rows)`, `sample(metric="leverage")`; the rows come as `Draws.rows`. For leverage scores give the
    constructor metric="leverage" too, which sizes the state. Options: see `Problem`.
    """

    def __init__(self, n: Optional[int] = None, d: Optional[int] = None, **options: Any) -> None:
        super().__init__(Problem("rows", n=n, d=d, **options))


_KINDS: dict[str, type] = {"vector": Vector, "product": Product, "kronecker": Kronecker, "rows": Rows}


def _wrap(core: "_core.State") -> Any:
    kind = _KINDS.get(core.problem.traits["model"], State)
    state = kind.__new__(kind)
    state._core = core
    return state


def load(path: Union[str, "os.PathLike[str]"]) -> Any:
    """Reads a .weir file of any model, made by this package or by the program. Raises ValueError that says what is
    wrong with it: not there, damaged, of an unknown version."""
    return State.load(path)


def hash_keys(keys: Any, seed: int) -> np.ndarray:
    """The indices, uint64 below 2^63, that states of `seed` have for keys that are text; numbers stay as they are, and
    so does text that is a whole number. Of k texts two get one index with probability about k^2 / 2^64."""
    return _arrays.keys(keys, whole("seed", seed, 0, SEED_LIMIT), _arrays.KEY_LIMIT)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _require_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise _core.InputError(f"entry {int(np.argmin(np.isfinite(values)))} of the matrix is not finite")


def _side(length: int) -> str:
    return "2^63" if length == 1 << 63 else f"{length:,}"


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
