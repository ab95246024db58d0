"""Flags are read as pflag, which Docker's client uses, reads them."""

from __future__ import annotations

from typing import Any

import pytest

from engine.cli.flags import FlagError, Parser, flag, listed, many, number, text

SOME = [flag("-d", "--detach", help=""), flag("-t", "--tty", help=""), text("-n", "--name", help=""),
        many("-p", "--publish", help=""), number("--time", help=""), listed("--subnet", help="")]  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "values", "rest"),
    [
        ("-dt x -d", {"detach": True, "tty": True}, ["x", "-d"]),
        ("-tp80:80 -p=81 --publish 82 x", {"tty": True, "publish": ["80:80", "81", "82"]}, ["x"]),
        ("--detach=false --tty=1 --name= x", {"detach": False, "tty": True, "name": ""}, ["x"]),
        ("-d=false", {"detach": False}, []),
        ("--name -- x", {"name": "--"}, ["x"]),
        ("-d -- -t", {"detach": True}, ["-t"]),
        ("--time 0x10 -", {"time": 16}, ["-"]),
        ("--subnet a,b --subnet c", {"subnet": ["a", "b", "c"]}, []),
        ("--name a --name b", {"name": "b"}, []),
    ],
)
def test_flags_are_read_as_pflag_reads_them(argv: str, values: dict[str, Any], rest: list[str]) -> None:
    found, positional, _ = Parser(SOME, interspersed=False).parse_args(argv.split())
    assert (found, positional) == (values, rest)


def test_options_may_follow_arguments_where_they_are_interspersed() -> None:
    found, positional, _ = Parser(SOME, interspersed=True).parse_args(["x", "-d", "y", "--name=z"])
    assert (found, positional) == ({"detach": True, "name": "z"}, ["x", "y"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--xx", "unknown flag: --xx"),
        ("-dZt", "unknown shorthand flag: 'Z' in -dZt"),
        ("--name", "flag needs an argument: --name"),
        ("-dn", "flag needs an argument: 'n' in -dn"),
        ("--=x", "bad flag syntax: --=x"),
        ("-t=x", 'invalid argument "x" for "-t, --tty" flag: strconv.ParseBool: parsing "x": invalid syntax'),
        ("--time x", 'invalid argument "x" for "--time" flag: strconv.ParseInt: parsing "x": invalid syntax'),
    ],
)
def test_flag_errors(argv: str, message: str) -> None:
    with pytest.raises(FlagError) as caught:
        Parser(SOME, interspersed=True).parse_args(argv.split())
    assert str(caught.value) == message
