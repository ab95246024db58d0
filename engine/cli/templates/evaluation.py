"""Go templates for --format: the subset of text/template, with Docker's functions, that people write.

It evaluates; parsing and the functions are in the modules beside. Pure: a template and a document in, text out, or
TemplateError with the words of Go (`template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"`).
"""

from __future__ import annotations

from engine.cli.templates import nodes
from engine.cli.templates.functions import FUNCTIONS, LAZY, NAMES, FunctionError
from engine.cli.templates.lexer import TemplateError, line_of
from engine.cli.templates.parser import parse
from engine.cli.templates.values import NO_VALUE, OMITTED, Free, Nil, NoValue, Struct, document, shown, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_VARIADIC = 0x04  # inspect.CO_VARARGS

__all__ = ["Template", "TemplateError", "document"]


class Template:
    """A parsed template. `render` may be called any number of times."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._nodes = parse(source, NAMES)

    def render(self, data: Any) -> str:
        """The text that the template makes of `data` (see `template_values.document`). Raises TemplateError."""
        return "".join(_Run(self._source, data).walk(self._nodes, data))


class _Jump(Exception):
    def __init__(self, kind: str, text: list[str]) -> None:
        self.kind = kind
        self.text = text


class _Run:
    """One execution: the variables, innermost last."""

    def __init__(self, source: str, data: Any) -> None:
        self._source = source
        self._variables: list[tuple[str, Any]] = [("$", data)]

    def walk(self, tree: tuple[nodes.Node, ...], dot: Any) -> list[str]:
        text: list[str] = []
        for node in tree:
            try:
                text += self._node(node, dot)
            except _Jump as jump:
                raise _Jump(jump.kind, text + jump.text) from None
        return text

    def _node(self, node: nodes.Node, dot: Any) -> list[str]:
        match node:
            case nodes.Text(text=text):
                return [text]
            case nodes.Show(pipeline=pipeline):
                value = self._pipeline(pipeline, dot)
                return [] if pipeline.variables else [shown(value)]
            case nodes.Branch(kind="range"):
                return self._range(node, dot)
            case nodes.Branch():
                return self._branch(node, dot)
            case nodes.Jump(kind=kind):
                raise _Jump(kind, [])

    def _branch(self, node: nodes.Branch, dot: Any) -> list[str]:
        depth = len(self._variables)
        value = self._pipeline(node.pipeline, dot)
        inner = value if node.kind == "with" else dot
        text = self.walk(node.body, inner) if truth(value) else self.walk(node.otherwise, dot)
        del self._variables[depth:]
        return text

    def _range(self, node: nodes.Branch, dot: Any) -> list[str]:
        depth = len(self._variables)
        bare = nodes.Pipeline(
            commands=node.pipeline.commands, source=node.pipeline.source, position=node.pipeline.position
        )
        value = self._pipeline(bare, dot)
        text: list[str] = []
        pairs = list(self._pairs(value, node.pipeline))
        for key, item in pairs:
            self._bind(node.pipeline, key, item)
            try:
                text += self.walk(node.body, item)
            except _Jump as jump:
                text += jump.text
                if jump.kind == "break":
                    break
            finally:
                if not node.pipeline.assign:
                    del self._variables[depth:]
        return text if pairs else self.walk(node.otherwise, dot)

    def _bind(self, pipeline: nodes.Pipeline, key: Any, item: Any) -> None:
        values = (item,) if len(pipeline.variables) == 1 else (key, item)
        for name, value in zip(pipeline.variables, values, strict=False):
            self._set(name, value, assign=pipeline.assign)

    def _pairs(self, value: Any, pipeline: nodes.Pipeline) -> Iterator[tuple[Any, Any]]:
        match value:
            case None | Nil() | NoValue():
                return
            case list():
                yield from enumerate(value)  # pyright: ignore[reportUnknownArgumentType]
            case dict():
                yield from sorted(value.items())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
            case bool():
                raise self._error(pipeline, f"range can't iterate over {shown(value)}")
            case int():
                yield from ((number, number) for number in range(value))
            case _:
                raise self._error(pipeline, f"range can't iterate over {shown(value)}")

    # expressions

    def _pipeline(self, pipeline: nodes.Pipeline, dot: Any) -> Any:
        value: Any = None
        for number, command in enumerate(pipeline.commands):
            value = self._command(command, dot, (value,) if number else ())
        for name in pipeline.variables:
            self._set(name, value, assign=pipeline.assign)
        return value

    def _set(self, name: str, value: Any, *, assign: bool) -> None:
        if not assign:
            self._variables.append((name, value))
            return
        for index in range(len(self._variables) - 1, -1, -1):
            if self._variables[index][0] == name:
                self._variables[index] = (name, value)
                return

    def _command(self, command: nodes.Command, dot: Any, piped: tuple[Any, ...]) -> Any:
        first, *rest = command.operands
        match first:
            case nodes.Function(name=name):
                return self._call(command, name, dot, piped)
            case nodes.Path():
                arguments = [self._operand(operand, dot) for operand in rest]
                return self._path(first, dot, (*arguments, *piped))
            case nodes.Literal(value=None):
                raise self._error(first, "nil is not a command")
            case nodes.Literal(value=value):
                if rest or piped:
                    raise self._error(first, f"can't give argument to non-function {first.source}")
                return value

    def _call(self, command: nodes.Command, name: str, dot: Any, piped: tuple[Any, ...]) -> Any:
        operands = command.operands[1:]
        if name in LAZY:
            return self._lazy(command, name, dot, piped)
        arguments = (*(self._operand(operand, dot) for operand in operands), *piped)
        function = FUNCTIONS[name]
        if not _accepts(function, len(arguments)):
            raise self._error(command.operands[0], f"wrong number of args for {name}: {_wants(name, len(arguments))}")
        try:
            return function(*arguments)
        except FunctionError as error:
            raise self._error(command, f"error calling {name}: {error}")

    def _lazy(self, command: nodes.Command, name: str, dot: Any, piped: tuple[Any, ...]) -> Any:
        """`and` gives its first false argument, `or` its first true one, else the last; the rest is not looked at."""
        operands = command.operands[1:]
        if not operands and not piped:
            raise self._error(command, f"wrong number of args for {name}: want at least 1 got 0")
        value: Any = None
        for operand in operands:
            value = self._operand(operand, dot)
            if truth(value) == (name == "or"):
                return value
        return piped[0] if piped else value

    def _operand(self, operand: nodes.Operand, dot: Any) -> Any:
        match operand:
            case nodes.Literal(value=value):
                return value
            case nodes.Path():
                return self._path(operand, dot, ())
            case nodes.Function():
                command = nodes.Command(operands=(operand,), source=operand.source, position=operand.position)
                return self._call(command, operand.name, dot, ())

    def _path(self, path: nodes.Path, dot: Any, arguments: tuple[Any, ...]) -> Any:
        value = self._root(path, dot)
        for number, name in enumerate(path.fields):
            last = number == len(path.fields) - 1
            value = self._field(path, value, name, arguments if last else ())
        if arguments and not path.fields:
            raise self._error(path, f"can't give argument to non-function {path.source}")
        return value

    def _root(self, path: nodes.Path, dot: Any) -> Any:
        match path.root:
            case "":
                return dot
            case str():
                return next(value for name, value in reversed(self._variables) if name == path.root)
            case nodes.Pipeline():
                depth = len(self._variables)
                value = self._pipeline(path.root, dot)
                del self._variables[depth:]
                return value

    def _field(self, path: nodes.Path, value: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        if isinstance(value, dict) and name in value:
            return self._found(path, value[name], name, arguments)
        match value:
            case NoValue() | Free():
                return NO_VALUE
            case Struct():
                raise self._error(path, f"can't evaluate field {name} in type {value.type_name}")
            case dict() if name in OMITTED:
                return None
            case None | dict():
                # a nil pointer reads like the absent key that it is in the document
                nil = value is None and name != path.fields[0]
                missing = path.fields[path.fields.index(name) - 1] if nil else name
                raise self._error(path, f'map has no entry for key "{missing}"')
            case _:
                raise self._error(path, f"can't evaluate field {name} in type interface {{}}")

    def _found(self, path: nodes.Path, found: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        if callable(found):
            return self._method(path, name, found, arguments)
        if arguments:
            raise self._error(path, f"{name} is not a method but has arguments")
        return found

    def _method(self, path: nodes.Path, name: str, method: Any, arguments: tuple[Any, ...]) -> Any:
        if not _accepts(method, len(arguments)):
            raise self._error(path, f"wrong number of args for {name}: want 1 got {len(arguments)}")
        return method(*arguments)

    def _error(self, node: nodes.Operand | nodes.Command | nodes.Pipeline, message: str) -> TemplateError:
        line = line_of(self._source, node.position)
        column = node.position - (self._source.rfind("\n", 0, node.position) + 1)
        return TemplateError(f'template: :{line}:{column}: executing "" at <{node.source}>: {message}')


def _parameters(function: Any) -> tuple[int, bool]:
    """How many arguments a function wants, and whether it takes more. `inspect` would take 14 ms to say so."""
    code = function.__code__
    return code.co_argcount, bool(code.co_flags & _VARIADIC)


def _accepts(function: Any, count: int) -> bool:
    fixed, variadic = _parameters(function)
    return count == fixed or (variadic and count > fixed)


def _wants(name: str, got: int) -> str:
    fixed, variadic = _parameters(FUNCTIONS[name])
    return f"want {'at least ' if variadic else ''}{fixed} got {got}"
