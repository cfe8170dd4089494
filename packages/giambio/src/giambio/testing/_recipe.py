# SPDX-License-Identifier: Apache-2.0
"""Replay strings: a failure, written down in a line that can be mailed.

``gb1-`` and some base 32: who it belongs to, what the random numbers began with, the precedences of the
schedule, the faults of the network, and the point of a cancellation. The digit is the version of all
this; a string of another one is refused, because what counts as a step may have changed in between, too.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ._trace import Path, Precedence, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._program import Oracles

_PREFIX = "gb1-"


class ReplayMismatch(ValueError):
    """A replay string does not fit the program: it belongs to another one, or that has changed.

    Attributes:
        has_changed: Whether it belongs to this one, which has changed since or has other arguments.
    """

    def __init__(self, message: str, *, has_changed: bool = False) -> None:
        super().__init__(message)
        self.has_changed = has_changed


class Recipe(NamedTuple):
    """How to make a failure happen again."""

    label: int
    """A checksum of the name of the test."""
    seed: int
    """What random numbers begin with."""
    precedences: tuple[Precedence, ...]
    """Where the schedule is not first come, first served."""
    faults: tuple[int, ...] | None = None
    """Which faults of the network happen, of those that chance wants; None for all."""
    checkpoint: int | None = None
    """At which checkpoint a cancellation comes; None for no cancellation."""
    phase: int = 0
    """When it comes there: 0 on entry, 1 when it has given up control, 2 when it was granted."""
    target: str = ""
    """The name of the task that is cancelled; empty for the program itself."""

    def encode(self) -> str:
        """Return the string."""
        from base64 import b32encode
        from zlib import crc32

        numbers = [self.label, self.seed, len(self.precedences)]
        for precedence in self.precedences:
            for path, number in precedence:
                # What the loop spawns has a negative number; zigzag makes it a natural one.
                numbers += [number, len(path), *(2 * n if n >= 0 else -2 * n - 1 for n in path)]
        numbers += [0] if self.faults is None else [1 + len(self.faults), *self.faults]
        name = self.target.encode()
        numbers += [0 if self.checkpoint is None else self.checkpoint + 1, self.phase, len(name)]
        data = b"".join(map(_varint, numbers)) + name
        data += crc32(data).to_bytes(4, "big")[:2]
        return _PREFIX + b32encode(data).decode().rstrip("=").lower()

    def check_label(self, label: str) -> None:
        """Raise `ReplayMismatch` if this belongs to a test of another name."""
        if self.label != checksum(label):
            raise ReplayMismatch(f"this replay string belongs to another test than {label}")

    @classmethod
    def decode(cls, string: str) -> Recipe:
        """Return what a string says.

        Raises:
            ReplayMismatch: It is of another version, or damaged.
        """
        from base64 import b32decode
        from zlib import crc32

        if not isinstance(string, str):
            raise TypeError(f"a replay string is a str, not {string!r}")
        string = string.strip()
        if not string.startswith(_PREFIX):
            version = string.partition("-")[0]
            if version[:2] == "gb" and version[2:].isdigit():
                raise ReplayMismatch(
                    f"this replay string is of version {version}, and here is {_PREFIX[:-1]}: what "
                    "it stands for cannot be told any more; find the failure again"
                )
            raise ReplayMismatch(f"{string!r} is no replay string: those begin with {_PREFIX!r}")
        text = string[len(_PREFIX) :].upper()
        try:
            data = b32decode(text + "=" * (-len(text) % 8))
            if crc32(data[:-2]).to_bytes(4, "big")[:2] != data[-2:]:
                raise ValueError
            return cls._read(data[:-2])
        except ValueError:
            raise ReplayMismatch(f"the replay string {string!r} is damaged") from None

    @classmethod
    def _read(cls, data: bytes) -> Recipe:
        rest = iter(data)
        label, seed, count = (_read_varint(rest) for _ in range(3))
        precedences = tuple(Precedence(_read_step(rest), _read_step(rest)) for _ in range(count))
        count = _read_varint(rest)
        faults = tuple(_read_varint(rest) for _ in range(count - 1)) if count else None
        checkpoint, phase, length = (_read_varint(rest) for _ in range(3))
        target = bytes(_read_byte(rest) for _ in range(length)).decode()
        return cls(
            label,
            seed,
            precedences,
            faults,
            checkpoint - 1 if checkpoint else None,
            phase,
            target,
        )


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_byte(data: Iterator[int]) -> int:
    byte = next(data, None)
    if byte is None:
        raise ValueError("it ends too early")
    return byte


def _read_varint(data: Iterator[int]) -> int:
    number = shift = 0
    while True:
        byte = _read_byte(data)
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number
        shift += 7


def _read_step(data: Iterator[int]) -> Step:
    number = _read_varint(data)
    path: Path = tuple(
        n // 2 if n % 2 == 0 else -(n + 1) // 2
        for n in (_read_varint(data) for _ in range(_read_varint(data)))
    )
    return Step(path, number)


def name_of(fn: object) -> str:
    """Return what to call a test; the same in every process."""
    while isinstance(fn, partial):
        fn = fn.func
    return str(getattr(fn, "__qualname__", None) or type(fn).__qualname__)


def how_to_replay(
    fn: object, args: tuple[object, ...], oracles: Oracles, *, label: str | None, **options: object
) -> str:
    """Return the call that replays a failure, with ``{replay}`` for the string.

    Args:
        fn: The test.
        args: Its arguments.
        oracles: What must hold.
        label: What it is called, if that was said.
        **options: With which other options it fails; ``None`` for those that were not given.
    """
    options |= {
        "check": oracles.check,
        "always": oracles.always,
        "watch": oracles.watch or None,
        "label": label,
    }
    name = name_of(fn).rpartition("<locals>.")[2]
    more = [*map(_as_typed, args)]
    more += [f"{key}={_as_typed(value)}" for key, value in options.items() if value is not None]
    rest = "".join(f", {each}" for each in more).replace("{", "{{").replace("}", "}}")
    return f"giambio.testing.replay({name}, {{replay!r}}{rest})"


def _as_typed(value: object) -> str:
    if isinstance(value, tuple | list) and any(isinstance(each, type) for each in value):
        return f"[{', '.join(map(_as_typed, value))}]"
    if not isinstance(value, type) and not callable(value):
        return repr(value)
    name = str(getattr(value, "__qualname__", "")).rpartition("<locals>.")[2]
    return name if name and "<" not in name else "..."


def checksum(label: str) -> int:
    """Return what a replay string keeps of the name of a test."""
    from zlib import crc32

    return crc32(label.encode()) & 0xFFFF
