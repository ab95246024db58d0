"""Flags, daemon.json, and their complaints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import settings
from engine.settings import AddressPool, Settings
from netpy.errors import InvalidArgument


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "daemon.json"
    path.write_text("{}")
    return path


def parse(file: Path, *arguments: str, **document: object) -> Settings:
    if document:
        file.write_text(json.dumps({key.replace("_", "-"): value for key, value in document.items()}))
    return settings.parse([*arguments, "--config-file", str(file)])


def test_defaults(file: Path) -> None:
    found = parse(file)
    assert found.instance == "netpy"
    assert found.default_bridge == "netpy0"
    assert found.addresses == ("unix:///run/netpy/netpy.sock",)
    assert found.icc and found.iptables and found.ip_forward


def test_another_root_is_another_instance(file: Path, tmp_path: Path) -> None:
    found = parse(file, "--data-root", str(tmp_path / "d"), "--exec-root", str(tmp_path / "x"))
    assert found.instance.startswith("netpy-") and len(found.instance) == 12
    assert found.default_bridge == found.instance
    assert found.pidfile == tmp_path / "x/netpy.pid"
    assert found.addresses == (f"unix://{tmp_path}/x/netpy.sock",)
    assert parse(file, "--data-root", str(tmp_path / "e")).instance != found.instance


def test_flags_and_file_come_together(file: Path) -> None:
    found = parse(
        file,
        "-H",
        "unix:///a.sock",
        "--default-address-pool",
        "base=10.10.0.0/16,size=24",
        "--icc=false",
        "--dns-opt",
        "ndots:1",
        bip="192.168.9.1/24",
        dns=["1.1.1.1"],
        labels=["a=b"],
        mtu=1400,
    )
    assert found.hosts == ("unix:///a.sock",)
    assert found.default_address_pools == (AddressPool(base="10.10.0.0/16", size=24),)
    assert not found.icc
    assert found.dns_options == ("ndots:1",)
    assert (found.bip, found.dns, found.labels, found.mtu) == ("192.168.9.1/24", ("1.1.1.1",), ("a=b",), 1400)


def test_pools_of_the_file_are_objects(file: Path) -> None:
    found = parse(file, default_address_pools=[{"base": "10.0.0.0/8", "size": 16}])
    assert found.default_address_pools == (AddressPool(base="10.0.0.0/8", size=16),)


def test_what_is_said_twice_is_refused_by_name(file: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(file, "--mtu", "1400", "--dns", "1.1.1.1", mtu=1500, dns=["8.8.8.8"])
    assert str(caught.value) == (
        f"unable to configure the netpy daemon with file {file}: the following directives are specified both as a "
        "flag and in the configuration file: dns: (from flag: [1.1.1.1], from file: [8.8.8.8]), "
        "mtu: (from flag: 1400, from file: 1500)"
    )


def test_unknown_directives_are_refused_by_name(file: Path) -> None:
    with pytest.raises(InvalidArgument, match="don't match any configuration option: colour, taste"):
        parse(file, taste=1, colour=2)


def test_dockers_own_file_is_taken(file: Path) -> None:
    parse(file, live_restore=True, userland_proxy=False, storage_driver="overlay2")


@pytest.mark.parametrize("content", ["{", "[]", '"x"'])
def test_a_broken_file(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(InvalidArgument, match=f"unable to configure the netpy daemon with file {file}"):
        parse(file)


def test_a_file_asked_for_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no such file"):
        settings.parse(["--config-file", str(tmp_path / "none")])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bip", "10.0.0.1"],
        ["--bip", "ten/8"],
        ["--dns", "here"],
        ["--mtu", "12"],
        ["--mtu", "big"],
        ["--default-address-pool", "10.0.0.0/8"],
        ["--default-address-pool", "base=10.0.0.0/16,size=8"],
        ["--default-address-pool", "base=10.0.0.1/8,size=16"],
        ["--firewall-backend", "pf"],
        ["--runtime", "kata"],
        ["-H", "tcp://0.0.0.0:2375"],
        ["-H", "unix://relative"],
        ["--log-level", "loud"],
        ["--label", "bare"],
        ["--icc", "maybe"],
        ["--bridge", "much-too-long-a-name"],
        ["--nonsense"],
        ["--data-root", ""],
    ],
)
def test_bad_flags_are_refused(file: Path, arguments: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        parse(file, *arguments)


def test_registries_come_from_flags_and_file_and_are_reloaded(file: Path) -> None:
    before = parse(file, "--insecure-registry", "http://r:5000", "--registry-mirror", "https://m")
    assert (before.insecure_registries, before.registry_mirrors) == (("r:5000",), ("https://m",))
    file.write_text(json.dumps({"registry-mirrors": ["http://127.0.0.1:5000"]}))
    after = settings.reloaded(before)
    assert (after.insecure_registries, after.registry_mirrors) == (("r:5000",), ("http://127.0.0.1:5000",))
    file.write_text(json.dumps({"registry-mirrors": ["127.0.0.1:5000"]}))
    with pytest.raises(InvalidArgument, match=r'invalid mirror: "127\.0\.0\.1:5000" is not a valid URI'):
        settings.reloaded(before)


def test_reload_takes_labels_and_log_level_alone(file: Path) -> None:
    before = parse(file, labels=["a=1"], mtu=1400)
    file.write_text(json.dumps({"labels": ["a=2"], "log-level": "debug", "mtu": 1300}))
    after = settings.reloaded(before)
    assert (after.labels, after.log_level, after.mtu) == (("a=2",), "debug", 1400)
