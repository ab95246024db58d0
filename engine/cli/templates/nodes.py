"""The tree of a Go template, as frozen values. Pure data: the parser makes it, the evaluator walks it.

`source` of an expression is how Go would print it again: error messages quote it.
"""

from __future__ import annotations

from engine.cli.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@record
class Literal:
    """A constant: string, number, character, boolean or nil."""

    value: Any
    source: str
    position: int


@record
class Path:
    """A chain of fields: from the dot (`root` ""), a variable (`$x`), or another expression (a pipeline)."""

    root: str | Pipeline
    fields: tuple[str, ...]
    source: str
    position: int


@record
class Function:
    """The name of a function, where an operand stands."""

    name: str
    source: str
    position: int


Operand = Literal | Path | Function


@record
class Command:
    """One stage of a pipeline: an operand with arguments."""

    operands: tuple[Operand, ...]
    source: str
    position: int


@record
class Pipeline:
    """`a | b | c`, perhaps with `$x :=` before it (`assign` when it is `=`)."""

    commands: tuple[Command, ...]
    variables: tuple[str, ...] = ()
    assign: bool = False
    source: str = ""
    position: int = 0


@record
class Text:
    text: str


@record
class Show:
    """Print a pipeline, unless it sets a variable."""

    pipeline: Pipeline


@record
class Branch:
    """`if`, `with` or `range`, with its `else`."""

    kind: str
    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


@record
class Jump:
    """`break` or `continue`."""

    kind: str


Node = Text | Show | Branch | Jump
