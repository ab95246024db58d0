"""Colours and bold print, where somebody looks: on a terminal that knows them, unless NO_COLOR says no.

NO_COLOR and TERM=dumb are obeyed as no-color.org and terminfo have them. Looks at the environment and at the terminal.
"""

from __future__ import annotations

import os

from engine.cli.terminal import is_terminal, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Paint = Callable[[str], str]

_STYLES = {"heading": "1;33", "name": "36", "value": "32", "faint": "2"}
WIDEST = 120


def wanted(descriptor: int = 1) -> bool:
    """Whether colours are welcome there."""
    return is_terminal(descriptor) and not os.environ.get("NO_COLOR") and (os.environ.get("TERM") or "dumb") != "dumb"


def painter(style: str, *, on: bool) -> Paint:
    """A function that gives a text that style; it leaves it alone if colours are not `on`."""
    code = _STYLES[style]
    return (lambda text: f"\x1b[{code}m{text}\x1b[0m") if on else (lambda text: text)


def width(descriptor: int = 1) -> int:
    """How many columns a text may take: the terminal's, at most WIDEST; 0 (as many as it likes) where there is none."""
    if not is_terminal(descriptor):
        return 0
    return min(size(descriptor)[1], WIDEST)
