"""The host's own name servers, as its resolv.conf says at this moment.

The file is looked at for each query that needs it, which costs one stat (2 µs): a watch on the file would be lost
when somebody puts another in its place by rename, which is how resolv.conf is nearly always written. I/O: that file.
"""

from __future__ import annotations

from pathlib import Path

from netpy.dns.files import ResolvConf, parse

_Stamp = tuple[int, int, int, int]


class HostFile:
    """Reads `path` again whenever it has become another file or has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: _Stamp | None = None
        self._content = ResolvConf()

    def servers(self) -> tuple[str, ...]:
        """The addresses of the nameserver lines; none where the file is missing."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self._content = parse(self._path.read_text(errors="replace"))
                self._stamp = stamp
        except OSError:
            self._stamp, self._content = None, ResolvConf()
        return self._content.servers
