"""Small linear sketches of large streams: update, add, subtract, save, and draw random entries of what came.

    state = weir.Vector(seed=7).update(["a", "b", "a"], [1, 2, 3])
    print(state.sample(4, names=["a", "b"]))

`import weir` neither needs nor starts MPI; `weir.Session`, which does, is loaded when it is first used.
"""

from typing import Any

from . import _core
from ._attention import Attention
from ._core import Error, InputError, UsageError, __version__
from ._leverage import LeverageSampler
from ._problem import Problem
from ._results import Answers, Coordinates, Draws, Estimate
from ._states import Kronecker, Product, Rows, State, Vector, hash_keys, load

__all__ = [
    "Answers",
    "Attention",
    "Coordinates",
    "Draws",
    "Error",
    "Estimate",
    "InputError",
    "Kronecker",
    "LeverageSampler",
    "Problem",
    "Product",
    "Rows",
    "Session",
    "State",
    "UsageError",
    "Vector",
    "hash_keys",
    "load",
]


def __getattr__(name: str) -> Any:
    if name == "Session":
        from ._session import Session

        return Session
    raise AttributeError(f"module 'weir' has no attribute {name!r}")
