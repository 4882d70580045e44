from typing import Any, Callable, Mapping, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from . import _core

def library_version() -> str: ...

class Session:
    def __init__(
        self,
        handle: int,
        problem: Optional[_core.Specification],
        start: Optional[_core.State],
        stream: Sequence[str],
        files: Mapping[str, str],
        values: Mapping[str, NDArray[np.float64]],
        skips_bad_lines: bool,
        progress_seconds: float,
        with_exact: bool,
    ) -> None: ...
    @property
    def problem(self) -> _core.Problem: ...
    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def advance(self, events: Optional[int], seconds: Optional[float]) -> bool: ...
    def run(
        self,
        events: Optional[int],
        seconds: Optional[float],
        window: Optional[int],
        decay: float,
        tumbling: bool,
        at_epoch: Callable[[dict[str, Any]], Any],
    ) -> None: ...
    def sample(self, arguments: Mapping[str, Any], second_pass: bool) -> Optional[dict[str, Any]]: ...
    def query(self, arguments: Mapping[str, Any], inner: Optional[_core.State]) -> Optional[dict[str, Any]]: ...
    def snapshot(self) -> Optional[_core.State]: ...
    def save(self, path: str) -> None: ...
    def statistics(self) -> dict[str, Any]: ...
    def close(self) -> None: ...
