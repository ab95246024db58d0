"""The driver that plugins/README.md shows is the one that `netpy driver new` writes, and passes the suite."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.cli import skeleton, trial
from engine.cli.command import CommandError
from engine.cli.main import run
from netpy.drivers import Defaults, Driver
from netpy.errors import InvalidArgument
from netpy.model import NetworkSpec
from netpy.testing import DriverContract, Machine

PAGE = (Path(__file__).parents[2] / "plugins" / "README.md").read_text()
EXAMPLE, SUITE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def example() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "netpy_routed"}
    exec(compile(EXAMPLE, "plugins/README.md", "exec"), names)
    return names


class TestRouted(DriverContract):
    def driver(self) -> Driver:
        return example()["RoutedDriver"](Defaults())


def test_the_page_shows_what_is_written() -> None:
    files = skeleton.files("routed")
    assert files["netpy_routed/__init__.py"] == EXAMPLE
    assert files["tests/test_routed.py"] == SUITE
    assert 'routed = "netpy_routed:RoutedDriver"' in PAGE
    assert 'routed = "netpy_routed:RoutedDriver"' in files["pyproject.toml"]
    assert len(EXAMPLE.splitlines()) <= 72


def test_the_commands_of_the_page_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["driver", "new", "routed"]) == 0
    assert "netpy driver test netpy_routed" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path / "netpy-routed")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert run(["driver", "test", "netpy_routed"]) == 0
    out = capsys.readouterr().out
    assert "netpy_routed:RoutedDriver\n  ok      it is a driver with a name" in out
    assert "13 kept, 0 broken, 1 not tried" in out
    assert run(["driver", "test", "tests/test_routed.py"]) == 0
    assert "test_routed:TestRoutedDriver" in capsys.readouterr().out.replace("tests/test_routed.py", "test_routed")
    sys.modules.pop("netpy_routed")
    sys.modules.pop("test_routed")


def test_what_is_written_is_a_package(tmp_path: Path) -> None:
    for path, text in skeleton.files("vx-lan").items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = subprocess.run(
        [sys.executable, "-c", "import netpy_vx_lan as m; print(m.VxLanDriver.name)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "vx-lan\n"


@pytest.mark.parametrize("name", ["", "Big", "a b", "a--b", "../x", "bridge", "null", "9a"])
def test_a_name_that_no_driver_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"invalid driver name|is built in"):
        skeleton.files(name)


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("")
    assert run(["driver", "new", "routed", str(tmp_path)]) == 1
    assert "exists and is not empty" in capsys.readouterr().err


def test_a_broken_driver_is_told_with_its_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = EXAMPLE.replace('f"{self.defaults.instance}/endpoint/{endpoint.id[:12]}"', '"mine"')
    (tmp_path / "broken_driver.py").write_text(broken)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert run(["driver", "test", "broken_driver:RoutedDriver"]) == 1
    out = capsys.readouterr().out
    assert "BROKEN  states keep to the rules" in out
    assert "with the mark 'mine': it has to be 'netpy/endpoint/" in out
    assert "why:   netpy removes and mends what a driver wants" in out
    sys.modules.pop("broken_driver")


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("no.such.module", "cannot be imported"),
        ("netpy.model:Nothing", "has no Nothing"),
        ("netpy.model", "has neither a driver nor a suite"),
        ("netpy.model:Network", "cannot be made"),
        ("netpy.model:FAMILY", "has no FAMILY"),
    ],
)
def test_what_is_no_driver_is_refused(reference: str, complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        list(trial.suites(reference))


def test_the_option_of_the_example_is_checked() -> None:
    m = Machine(plugins={"routed": lambda defaults: example()["RoutedDriver"](defaults)})
    with pytest.raises(InvalidArgument, match="option mtu=5: must be a number between 1280 and 65535"):
        m.controller.create_network(NetworkSpec(name="lan", driver="routed", options={"mtu": "5"}))


def test_a_driver_without_its_functions_is_no_driver() -> None:
    assert not isinstance(object(), Driver)
    with pytest.raises(NotImplementedError):
        DriverContract().driver()
