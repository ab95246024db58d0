"""Golden text does not prove syntax: every document is fed to the program that reads it, which changes nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
GOLDEN = Path(__file__).parent.parent / "golden"
NFT = sorted(path for path in (GOLDEN / "nft").glob("*.txt"))
IPTABLES = sorted((GOLDEN / "iptables").glob("*.txt"))


@pytest.mark.parametrize("path", NFT, ids=[path.stem for path in NFT])
def test_nft_takes_it(path: Path, namespace: str) -> None:
    text = path.read_text() if path.stem == "dns" else (GOLDEN / "nft" / "table.txt").read_text() + path.read_text()
    check(namespace, text, "nft", "-c", "-f", "-")


@pytest.mark.parametrize("path", IPTABLES, ids=[path.stem for path in IPTABLES])
def test_iptables_restore_takes_it(path: Path, namespace: str) -> None:
    program = "ip6tables" if path.stem.endswith("ipv6") else "iptables"
    check(namespace, path.read_text(), f"{program}-legacy-restore", "--test")


def check(namespace: str, text: str, *command: str) -> None:
    assert text
    done = subprocess.run(
        ["nsenter", f"--net={namespace}", *command], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
