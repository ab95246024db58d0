"""The `netpy` command: a fast path for what is asked for all day, the command tree for everything else.

The fast path is taken while a daemon answers, for command lines that only read (`fast`), and for a few that act and
have no flags (`direct`). Here exceptions become messages and exit codes: 125 where run, create or the command line
itself is at fault, 1 otherwise, 130 for an interrupt.
"""

from __future__ import annotations

import posix  # not os, whose import takes a millisecond
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Entry point of the console script."""
    code = _reported(_answer, sys.argv[1:])
    # All is said, and taking the interpreter down in order would take 2 ms.
    posix._exit(code)  # pyright: ignore[reportPrivateUsage]


def run(arguments: list[str]) -> int:
    """Run a command line by the command tree; returns the exit code."""
    return _reported(_dispatch, arguments)


def _reported(act: Callable[[list[str]], int], arguments: list[str]) -> int:
    try:
        return act(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read us has gone: leave quietly, and keep the interpreter from trying to flush again
        posix.dup2(posix.open("/dev/null", posix.O_WRONLY), 1)
        return 141
    except Exception as error:
        return _told(error)


def _answer(arguments: list[str]) -> int:
    if arguments[:1] == ["exec"] or arguments[1:2] in (["exec"], ["connect"], ["disconnect"]):
        from engine.cli import direct

        code = direct.attempt(arguments)
        return _dispatch(arguments) if code is None else code
    from engine.cli import fast

    output = fast.attempt(arguments)
    if output is None:
        return _dispatch(arguments)
    sys.stdout.write(output)
    sys.stdout.flush()
    return 0


def _dispatch(arguments: list[str]) -> int:
    from engine.cli.registry import ROOT

    code = ROOT.main(arguments)
    sys.stdout.flush()
    return code


def _told(error: Exception) -> int:
    """Say what went wrong. What is nobody's fault but ours goes on as it is."""
    from engine.cli.command import CommandError
    from engine.client import ApiError, ClientError

    match error:
        case CommandError():
            return _fail(str(error), error.code)
        case ApiError():
            return _fail(f"Error response from daemon: {error}")
        case ClientError():
            return _fail(str(error))
        case OSError():
            return _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
        case _:
            raise error


def _fail(message: str, code: int = 1) -> int:
    sys.stdout.flush()
    if message:
        print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
