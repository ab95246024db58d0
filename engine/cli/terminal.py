"""The terminal a command is typed in: raw mode, its size, and the keys that detach from a container.

Does I/O on file descriptors; the key filter is pure.
"""

from __future__ import annotations

import posix

from engine.cli.scopes import scoped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator

DEFAULT_KEYS = "ctrl-p,ctrl-q"
_CONTROLS = "abcdefghijklmnopqrstuvwxyz"
_OTHERS = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def is_terminal(descriptor: int) -> bool:
    try:
        return posix.isatty(descriptor)
    except OSError:
        return False


def size(descriptor: int) -> tuple[int, int]:
    """(rows, columns); (0, 0) if it is no terminal."""
    try:
        found = posix.get_terminal_size(descriptor)
    except OSError:
        return 0, 0
    return found.lines, found.columns


@scoped
def raw(descriptor: int) -> Generator[None]:
    """Every key goes through as it is typed until the context ends. Does nothing if it is no terminal."""
    if not is_terminal(descriptor):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@scoped
def on_resize(action: Callable[[], None]) -> Generator[None]:
    """Run the action whenever the terminal changes its size."""

    import signal

    def react(_number: int, _frame: object) -> None:
        action()

    before = signal.signal(signal.SIGWINCH, react)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def key_sequence(text: str) -> bytes:
    """The bytes of `ctrl-p,ctrl-q`. ValueError for a key that is none."""
    return bytes(_key(word) for word in (text or DEFAULT_KEYS).split(","))


def _key(word: str) -> int:
    if len(word) == 1 and word.isascii():
        return ord(word)
    name = word.removeprefix("ctrl-")
    if word.startswith("ctrl-") and len(name) == 1:
        if name in _CONTROLS:
            return ord(name) - ord("a") + 1
        if name in _OTHERS:
            return _OTHERS[name]
    raise ValueError(f"Unknown character: '{word}'")


class KeyFilter:
    """Finds a key sequence in what is typed. What may be its beginning is held back until it is clear what it is."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What to pass on, and whether the sequence was completed (what follows it is dropped)."""
        passed = bytearray()
        for byte in data:
            if byte == self._sequence[self._matched]:
                self._matched += 1
                if self._matched == len(self._sequence):
                    self._matched = 0
                    return bytes(passed), True
                continue
            passed += self._sequence[: self._matched]
            self._matched = 0
            if byte == self._sequence[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed), False
