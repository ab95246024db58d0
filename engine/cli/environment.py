"""Environment variables and labels of a command line, from flags and from files.

Reads the files it is given; everything else is pure. A variable without a value takes the caller's own. If
the caller has none, a file's is left out, and a flag's goes as it is: that unsets what the image sets.
"""

from __future__ import annotations

from engine.cli.flags import BadValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def variables(given: Sequence[str], files: Sequence[str], own: Mapping[str, str]) -> list[str]:
    """`KEY=value` of all files, then of all flags. Raises BadValue, or ValueError for what a file has wrong."""
    found: list[str] = []
    for text in given:
        if text.startswith("=") or not text:
            raise BadValue("env", text, f"invalid environment variable: {text}")
    for line in [line for name in files for line in _lines(name)]:
        if "=" in line or line in own:
            found.append(_with_value(line, own))
    return found + [_with_value(text, own) for text in given]


def _with_value(text: str, own: Mapping[str, str]) -> str:
    return f"{text}={own[text]}" if "=" not in text and text in own else text


def labels(given: Sequence[str], files: Sequence[str] = ()) -> dict[str, str]:
    """Labels by name, sorted; a label without a value is empty."""
    pairs = [line.partition("=") for line in [*[line for name in files for line in _lines(name)], *given]]
    return {name: value for name, _, value in sorted(pairs)}


def pairs(given: Sequence[str]) -> dict[str, str]:
    """`key=value` flags as a mapping; a key alone has an empty value, as in Docker."""
    return {name: value for name, _, value in sorted(text.partition("=") for text in given)}


def _lines(name: str) -> list[str]:
    """The lines of an env file: comments and blank lines left out, leading blanks removed. Raises ValueError."""
    try:
        with open(name, encoding="utf-8-sig") as stream:
            text = stream.read()
    except OSError as error:
        raise ValueError(f"open {name}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"env file {name} contains invalid utf8 bytes") from error
    found: list[str] = []
    for line in text.splitlines():
        plain = line.lstrip()
        if not plain or plain.startswith("#"):
            continue
        key = plain.partition("=")[0]
        if not key:
            raise ValueError(f"no variable name on line '{plain}'")
        if any(blank in key for blank in " \t"):
            raise ValueError(f"variable '{key}' contains whitespaces")
        found.append(plain)
    return found
