"""The `netpy` command: one fast path for what is typed all day, click for everything else.

Importing click costs 30 ms, the fast path needs none of it: it is taken for a few exact command lines that only read
(`fast`), and only while a daemon answers. Here exceptions become messages and exit codes: 125 where run, create or the
command line itself is at fault, 1 otherwise, 130 for an interrupt.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script."""
    arguments = sys.argv[1:]
    from engine.cli.fast import attempt

    output = attempt(arguments)
    if output is not None:
        sys.stdout.write(output)
        sys.stdout.flush()
        return
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run a command line through click; returns the exit code."""
    from engine.cli.command import CommandError
    from engine.client import ApiError, ClientError

    try:
        return _dispatch(arguments)
    except CommandError as error:
        return _fail(str(error), error.code)
    except ApiError as error:
        return _fail(f"Error response from daemon: {error}")
    except ClientError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read us has gone: leave quietly, and keep the interpreter from trying to flush again
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def _dispatch(arguments: list[str]) -> int:
    from engine.cli.registry import ROOT

    result = ROOT.main(arguments, prog_name="netpy", standalone_mode=False)
    sys.stdout.flush()
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int = 1) -> int:
    sys.stdout.flush()
    if message:
        print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
