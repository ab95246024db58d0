"""Size caps: a file has at most 400 lines, a function at most 60. Prints what is over and fails."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_CAP, FUNCTION_CAP = 400, 60
ROOMS = ("netpy", "engine", "plugins", "tests", "scripts")


def oversized(path: Path) -> Iterator[str]:
    source = path.read_text()
    lines = source.count("\n")
    if lines > FILE_CAP:
        yield f"{path}: {lines} lines, at most {FILE_CAP}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_CAP:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_CAP}"


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    found = [line for room in ROOMS for path in sorted((root / room).rglob("*.py")) for line in oversized(path)]
    print("\n".join(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
