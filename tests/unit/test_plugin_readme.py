"""The driver that plugins/README.md shows passes the suite that it recommends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from netpy.drivers import Defaults, Driver
from netpy.testing import DriverContract

PAGE = (Path(__file__).parents[2] / "plugins" / "README.md").read_text()
EXAMPLE, SUITE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def example() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "netpy_routed"}
    exec(compile(EXAMPLE, "plugins/README.md", "exec"), names)
    return names


class TestRouted(DriverContract):
    def driver(self) -> Driver:
        return example()["RoutedDriver"](Defaults())


def test_the_suite_shown_is_the_one_that_runs() -> None:
    names = example()
    exec(compile(SUITE, "plugins/README.md", "exec"), names)
    assert issubclass(names["TestRouted"], DriverContract)
    assert isinstance(names["TestRouted"]().driver(), Driver)


def test_a_driver_without_its_functions_is_no_driver() -> None:
    assert not isinstance(object(), Driver)
    with pytest.raises(NotImplementedError):
        DriverContract().driver()
