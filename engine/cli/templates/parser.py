"""Makes the tree of a Go template out of its tokens.

It decides structure (blocks, pipelines, scopes of variables) and refuses what has none, in Go's words; values are the
evaluator's business. Pure. `define`, `block` and `template` are left out: a --format string is one template.
"""

from __future__ import annotations

from engine.cli.templates import nodes
from engine.cli.templates.lexer import TemplateError, Token, syntax_error, tokens
from engine.cli.units import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

_BLOCKS = ("if", "with", "range")
_CONSTANTS = {"true": True, "false": False, "nil": None}


def parse(source: str, functions: Container[str]) -> tuple[nodes.Node, ...]:
    """The tree of a template that may call `functions`. Raises TemplateError in the words of Go's text/template."""
    return _Parser(source, functions).template()


class _Parser:
    def __init__(self, source: str, functions: Container[str]) -> None:
        self._source = source
        self._functions = functions
        self._tokens = tokens(source)
        self._next = 0
        self._variables = ["$"]
        self._ranges = 0

    # blocks

    def template(self) -> tuple[nodes.Node, ...]:
        body, ended_by = self._nodes()
        if ended_by:
            raise self._error(f"unexpected {{{{{ended_by}}}}}")
        return body

    def _nodes(self) -> tuple[tuple[nodes.Node, ...], str]:
        """Nodes up to an `{{end}}` or `{{else…}}`, whose word is returned, or to the end of the template ("")."""
        found: list[nodes.Node] = []
        while self._next < len(self._tokens):
            token = self._take()
            if token.kind == "text":
                found.append(nodes.Text(text=token.text))
                continue
            self._next -= 1
            if token.kind == "word" and token.text in ("end", "else"):
                self._take()
                return tuple(found), token.text
            found.append(self._action(token))
        return tuple(found), ""

    def _action(self, token: Token) -> nodes.Node:
        if token.kind == "word" and token.text in _BLOCKS:
            self._take()
            return self._block(token.text)
        if token.kind == "word" and token.text in ("break", "continue"):
            self._take()
            if not self._ranges:
                raise self._error(f"{{{{{token.text}}}}} outside {{{{range}}}}")
            self._close(token.text)
            return nodes.Jump(kind=token.text)
        if token.kind == "word" and token.text in ("define", "block", "template"):
            raise self._error(f"{{{{{token.text}}}}} is not supported in a format")
        pipeline = self._pipeline("command")
        self._close("command")
        return nodes.Show(pipeline=pipeline)

    def _block(self, kind: str) -> nodes.Branch:
        depth = len(self._variables)
        pipeline = self._pipeline(kind)
        self._close(kind)
        self._ranges += kind == "range"
        body, ended_by = self._nodes()
        self._ranges -= kind == "range"
        otherwise: tuple[nodes.Node, ...] = ()
        if ended_by == "else":
            otherwise, ended_by = self._otherwise(kind)
        elif ended_by == "end":
            self._close("end")
        if not ended_by:
            raise self._error("unexpected EOF")
        del self._variables[depth:]
        return nodes.Branch(kind=kind, pipeline=pipeline, body=body, otherwise=otherwise)

    def _otherwise(self, kind: str) -> tuple[tuple[nodes.Node, ...], str]:
        """What follows an `{{else`: a chained block of the same kind shares the `{{end}}` of the first."""
        token = self._peek()
        if token is not None and token.kind == "word" and token.text == kind and kind != "range":
            self._take()
            return (self._block(kind),), "end"
        self._close("else")
        otherwise, ended_by = self._nodes()
        if ended_by == "else":
            raise self._error("expected end; found {{else}}")
        if ended_by == "end":
            self._close("end")
        return otherwise, ended_by

    # pipelines

    def _pipeline(self, context: str, *, until: str = "close") -> nodes.Pipeline:
        first = self._peek()
        variables, assign = self._declaration(context)
        commands: list[nodes.Command] = []
        while True:
            token = self._peek()
            if token is None or token.kind == "close" or (token.kind == "symbol" and token.text == until):
                break
            commands.append(self._command(context))
            if not self._symbol("|"):
                break
            if (after := self._peek()) is None or after.kind == "close":
                raise self._error(f"missing value for {context}")
        if not commands:
            raise self._error(f"missing value for {context}")
        self._check_stages(commands)
        self._variables += variables if not assign else []
        prefix = f"{', '.join(variables)} {'=' if assign else ':='} " if variables else ""
        return nodes.Pipeline(
            commands=tuple(commands),
            variables=tuple(variables),
            assign=assign,
            source=prefix + " | ".join(command.source for command in commands),
            position=first.position if first else 0,
        )

    def _check_stages(self, commands: list[nodes.Command]) -> None:
        for number, command in enumerate(commands[1:], start=2):
            match command.operands[0]:
                case nodes.Literal():
                    raise self._error(f"non executable command in pipeline stage {number}")
                case _:
                    pass

    def _declaration(self, context: str) -> tuple[list[str], bool]:
        """`$a, $b :=` at the head of a pipeline; nothing is taken if there is none."""
        start = self._next
        names: list[str] = []
        while (token := self._peek()) is not None and token.kind == "variable":
            names.append(self._take().text)
            if self._symbol(":="):
                return names, False
            if self._symbol("="):
                return [self._known(name) for name in names], True
            if not (context == "range" and len(names) < 2 and self._symbol(",")):
                break
        self._next = start
        return [], False

    def _command(self, context: str) -> nodes.Command:
        start = self._tokens[self._next].position
        operands: list[nodes.Operand] = []
        while (token := self._peek()) is not None and token.kind != "close":
            if token.kind == "symbol" and token.text in "|),":
                break
            if operands and not token.spaced:
                raise self._error(f"unexpected {_shown(token)} in operand")
            operands.append(self._operand(context))
        if not operands:
            raise self._error(
                "empty command" if context != "parenthesized pipeline" else f"missing value for {context}"
            )
        source = " ".join(operand.source for operand in operands)
        return nodes.Command(operands=tuple(operands), source=source, position=start)

    def _operand(self, context: str) -> nodes.Operand:
        term = self._term(context)
        fields: list[str] = []
        position = term.position
        while (token := self._peek()) is not None and token.kind == "field" and not token.spaced:
            position = token.position if not fields or isinstance(term, nodes.Path) else position
            fields.append(self._take().text)
        if not fields:
            return term
        source = term.source + "".join(f".{name}" for name in fields)
        match term:
            case nodes.Path(root=root, fields=earlier):
                # Go reports a chain at its second link; error messages are compared with Docker's
                first = self._tokens[self._next - len(fields)].position
                return nodes.Path(root=root, fields=(*earlier, *fields), source=source, position=first)
            case nodes.Function() | nodes.Literal():
                command = nodes.Command(operands=(term,), source=term.source, position=term.position)
                pipeline = nodes.Pipeline(commands=(command,), source=term.source, position=term.position)
                return nodes.Path(root=pipeline, fields=tuple(fields), source=source, position=position)

    def _term(self, context: str) -> nodes.Operand:
        token = self._take()
        match token.kind, token.text:
            case "field", name:
                return nodes.Path(root="", fields=(name,), source=f".{name}", position=token.position)
            case "variable", name:
                return nodes.Path(root=self._known(name), fields=(), source=name, position=token.position)
            case "symbol", ".":
                return nodes.Path(root="", fields=(), source=".", position=token.position)
            case "symbol", "(":
                return self._parenthesis(token)
            case "word", name:
                return self._word(token, name)
            case (("string" | "char" | "number"), _):
                return _literal(token)
            case _:
                raise self._error(f"unexpected {_shown(token)} in {context}")

    def _parenthesis(self, token: Token) -> nodes.Path:
        pipeline = self._pipeline("parenthesized pipeline", until=")")
        if not self._symbol(")"):
            raise self._error("unclosed left paren")
        return nodes.Path(root=pipeline, fields=(), source=f"({pipeline.source})", position=token.position)

    def _word(self, token: Token, name: str) -> nodes.Operand:
        if name in _CONSTANTS:
            return nodes.Literal(value=_CONSTANTS[name], source=name, position=token.position)
        if name not in self._functions:
            raise self._error(f'function "{name}" not defined')
        return nodes.Function(name=name, source=name, position=token.position)

    # tokens

    def _known(self, name: str) -> str:
        if name not in self._variables:
            raise self._error(f'undefined variable "{name}"')
        return name

    def _peek(self) -> Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _symbol(self, text: str) -> bool:
        token = self._peek()
        if token is None or token.kind != "symbol" or token.text != text:
            return False
        self._next += 1
        return True

    def _close(self, context: str) -> None:
        token = self._take()
        if token.kind != "close":
            raise self._error(f"unexpected {_shown(token)}" + ("" if token.text == ")" else f" in {context}"))

    def _error(self, message: str) -> TemplateError:
        position = self._tokens[min(self._next, len(self._tokens) - 1)].position if self._tokens else 0
        return syntax_error(self._source, position, message)


def _shown(token: Token) -> str:
    if token.kind == "symbol":
        return {"(": "left paren", ")": "right paren", "|": "<|>"}.get(token.text, f'"{token.text}"')
    return "closing delimiter" if token.kind == "close" else f"<{token.text}>"


def _literal(token: Token) -> nodes.Literal:
    if token.kind == "string":
        return nodes.Literal(value=token.text, source=quoted(token.text), position=token.position)
    if token.kind == "char":
        return nodes.Literal(value=ord(token.text[:1] or "\0"), source=f"'{token.text}'", position=token.position)
    return nodes.Literal(value=number(token.text), source=token.text, position=token.position)


def number(text: str) -> int | float:
    """A Go number: decimal, 0x, 0o, 0b, a leading zero for octal, or a float."""
    plain = text.replace("_", "")
    sign, digits = (plain[0], plain[1:]) if plain[0] in "+-" else ("", plain)
    if digits[:2].lower() in ("0x", "0o", "0b"):
        return int(sign + digits, 0)
    if digits.isdigit():
        octal = len(digits) > 1 and digits[0] == "0" and not set(digits) & {"8", "9"}
        return int(sign + digits, 8 if octal else 10)
    return float(plain)
