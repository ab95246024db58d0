"""Looks at a link of the host that a plugin named. Asks the kernel (SIOCGIFHWADDR), changes nothing."""

from __future__ import annotations

import fcntl
import socket
import struct

from netpy_docker_remote.answers import WrongAnswer

_SIOCGIFHWADDR = 0x8927


def mac_of(link: str) -> str:
    """The link's MAC, which it keeps in the sandbox. WrongAnswer when there is no such link."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFHWADDR, struct.pack("256s", link.encode()[:15]))
        except OSError as error:
            raise WrongAnswer(f"named the link {link}, which is not on the host: {error.strerror}") from error
    return ":".join(f"{byte:02x}" for byte in answer[18:24])
