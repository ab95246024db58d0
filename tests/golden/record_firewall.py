"""Writes the golden rule documents anew, from what the compilers say now. Read the difference before you keep it.

.venv/bin/python -m tests.golden.record_firewall
"""

from __future__ import annotations

from pathlib import Path

from netpy.firewall import iptables, nft, sources
from tests.unit.firewall_scenarios import SCENARIOS

HERE = Path(__file__).parent


def main() -> None:
    for folder in ("nft", "iptables"):
        (HERE / folder).mkdir(exist_ok=True)
        for old in (HERE / folder).glob("*.txt"):
            old.unlink()
    tables = [*nft.script(nft.ruleset("netpy")), *nft.script(sources.ruleset("netpy"))]
    (HERE / "nft" / "table.txt").write_text("\n".join(tables) + "\n")
    for name, intents in SCENARIOS.items():
        (HERE / "nft" / f"{name}.txt").write_text(nft.document(nft.lower("netpy", intents)))
        for family in (4, 6):
            text = iptables.document(iptables.lower("netpy", intents), family)
            if text:
                (HERE / "iptables" / f"{name}.ipv{family}.txt").write_text(text)


if __name__ == "__main__":
    main()
