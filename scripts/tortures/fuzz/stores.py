"""The daemon's own file of records, spoilt at random: it opens whole or not at all, and what is salvaged opens."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from engine.opening import READERS
from netpy.errors import NetpyError
from netpy.model import Network, NetworkSpec
from netpy.salvage import salvage
from netpy.store import Store, encode
from scripts.tortures.tally import Tally

RECORDS = 400


def spoil_stores(tally: Tally, *, times: int, seed: int) -> None:
    """Write over, cut off or double parts of a store, so often; read it, then salvage it."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="netpy-fuzz-", dir="/dev/shm") as place:
        path = Path(place) / "netpy.db"
        _fill(path)
        whole = path.read_bytes()
        for turn in range(times):
            for file in Path(place).iterdir():
                file.unlink()
            path.write_bytes(spoilt(whole, chance))
            tally.count("damaged stores")
            try:
                _try(path, tally)
            except Exception as error:
                tally.blame(f"store spoilt with seed {seed}, turn {turn}: {error!r}")


def spoilt(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few things wrong that disks and people do to files."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(out) or 1), chance.choice((1, 16, 512, 4096))
        match chance.randrange(4):
            case 0:
                out[at : at + length] = chance.randbytes(length)
            case 1:
                out[at : at + length] = bytes(length)
            case 2:
                out[at : at + length] = out[: len(out[at : at + length])]
            case _ if chance.random() < 0.3:
                del out[at:]
    return bytes(out)


def _fill(path: Path) -> None:
    store = Store(path)
    with store.transaction() as transaction:
        for number in range(RECORDS):
            network = Network(id=f"{number:064x}", spec=NetworkSpec(name=f"net{number}"), subnets=())
            transaction.put("network", network.id, encode(network))
    store.close()


def _try(path: Path, tally: Tally) -> None:
    try:
        _load(path)
    except NetpyError:
        tally.count("refused")
    done = salvage(path, READERS)
    kept = _load(path)
    tally.count("records salvaged", kept)
    if kept != done.kept:
        tally.blame(f"salvage says that it kept {done.kept} records, and {kept} are there")


def _load(path: Path) -> int:
    store = Store(path)
    try:
        return sum(len(store.load(kind, read)) for kind, read in READERS.items())
    finally:
        store.close()
