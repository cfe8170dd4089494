# SPDX-License-Identifier: Apache-2.0
"""What a run leaves open: files, sockets, async generators, coroutines that nobody awaited.

They tell of it themselves, by a warning when they are dropped. So the garbage that a run has made is
collected after it, and the warnings are kept.
"""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class LooseEnds:
    """While entered, keeps the warnings of things that were left open.

    All other warnings are shown when it is left, each once, unless the filters say otherwise.
    """

    def __init__(self) -> None:
        self._catching = warnings.catch_warnings(record=True)
        self._caught: list[warnings.WarningMessage] = []
        self._others: dict[tuple[object, ...], warnings.WarningMessage] = {}
        # How much is left open when all goes well. That is not held against a run.
        self._normal = 0

    def __enter__(self) -> Self:
        caught = self._catching.__enter__()
        assert caught is not None
        self._caught = caught
        warnings.simplefilter("always", ResourceWarning)
        warnings.filterwarnings("always", ".* was never awaited", RuntimeWarning)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sort()
        self._catching.__exit__(exc_type, exc, traceback)
        for each in self._others.values():
            warnings.showwarning(
                each.message, each.category, each.filename, each.lineno, each.file, each.line
            )

    def forget(self) -> None:
        """Begin a new run. What was said since was about one that failed."""
        if self._caught:
            self._sort()

    def found(self) -> list[str]:
        """Return what is said of things that this run has left open, if they are more than normal."""
        # Everything that the run has made is in the youngest generation.
        gc.collect(0)
        texts = self._sort()
        return texts if len(texts) > self._normal else []

    def accept(self) -> None:
        """Take what this run has left open for normal; it is told of as if it had run alone."""
        gc.collect(0)
        self._others.update((_key(each), each) for each in self._caught)
        self._normal = len(self._sort())

    def _sort(self) -> list[str]:
        """Return what was said of things left open, and put the rest aside."""
        texts: list[str] = []
        for each in self._caught:
            text = str(each.message)
            if issubclass(each.category, ResourceWarning) or text.endswith("was never awaited"):
                texts.append(text)
            else:
                self._others.setdefault(_key(each), each)
        self._caught.clear()
        return texts


def _key(warning: warnings.WarningMessage) -> tuple[object, ...]:
    return (str(warning.message), warning.category, warning.filename, warning.lineno)
