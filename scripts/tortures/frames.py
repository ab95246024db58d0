"""Ethernet frames that a hostile container might send, packed by hand: what is wrong in them is the point. Pure."""

from __future__ import annotations

import struct
from ipaddress import ip_address

IP, ARP, IP6, RARP, VLAN, QINQ = 0x0800, 0x0806, 0x86DD, 0x8035, 0x8100, 0x88A8
PPPOE, EAPOL, LLDP = 0x8863, 0x888E, 0x88CC
ALL = "ff:ff:ff:ff:ff:ff"
REQUEST, REPLY = 1, 2
UDP, ICMP6, HOP_BY_HOP, FRAGMENT = 17, 58, 0, 44


def ether(source: str, destination: str, kind: int, payload: bytes) -> bytes:
    """A frame; `kind` below 1536 is a length, as in IEEE 802.3."""
    return _mac(destination) + _mac(source) + struct.pack(">H", kind) + payload


def tagged(frame: bytes, vlan: int, kind: int = VLAN) -> bytes:
    """The frame with a VLAN tag."""
    return frame[:12] + struct.pack(">HH", kind, vlan) + frame[12:]


def content(frame: bytes) -> bytes:
    """What a frame carries, behind its addresses and tags: by this it is known again."""
    at = 12
    while int.from_bytes(frame[at : at + 2], "big") in (VLAN, QINQ):
        at += 4
    return frame[at + 2 :]


def arp(operation: int, sender: tuple[str, str], target: tuple[str, str]) -> bytes:
    """An ARP message; sender and target are (MAC, address)."""
    packed = struct.pack(">HHBBH", 1, IP, 6, 4, operation)
    for mac, address in (sender, target):
        packed += _mac(mac) + _address(address)
    return packed


def udp(source: str, destination: str, ports: tuple[int, int], data: bytes) -> bytes:
    """An IP packet of either family with a UDP datagram in it; `ports` are source and destination."""
    length = 8 + len(data)
    body = struct.pack(">HHHH", *ports, length, 0) + data
    pseudo = _address(source) + _address(destination) + struct.pack(">HH", UDP, length)
    body = body[:6] + struct.pack(">H", _checksum(pseudo + body) or 0xFFFF) + body[8:]
    return packet(source, destination, UDP, body)


def packet(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    """An IP packet of either family; hop limit 255, as neighbour discovery wants it."""
    if ":" in source:
        head = struct.pack(">IHBB", 6 << 28, len(body), protocol, 255)
        return head + _address(source) + _address(destination) + body
    return ipv4(source, destination, protocol, body)


def ipv4(source: str, destination: str, protocol: int, body: bytes, **odd: bytes | int) -> bytes:
    """An IPv4 packet; `odd`: `options` (whole words) and `fragment` (flags and offset, as on the wire)."""
    options, fragment = bytes(odd.get("options", b"")), int(odd.get("fragment", 0))  # pyright: ignore[reportArgumentType]
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, words * 4 + len(body), 7, fragment, 64, protocol, 0)
    head += _address(source) + _address(destination) + options
    return head[:10] + struct.pack(">H", _checksum(head)) + head[12:] + body


def icmp6(source: str, destination: str, kind: int, body: bytes, *extensions: int) -> bytes:
    """An ICMPv6 message, behind extension headers where there are any: hop-by-hop, or an atomic fragment's."""
    message = struct.pack(">BBH", kind, 0, 0) + body
    pseudo = _address(source) + _address(destination) + struct.pack(">II", len(message), ICMP6)
    message = message[:2] + struct.pack(">H", _checksum(pseudo + message)) + message[4:]
    following, inside = ICMP6, message
    for extension in reversed(extensions):
        options = struct.pack(">HI", 0, 9) if extension == FRAGMENT else b"\x01\x04\0\0\0\0"
        inside = bytes((following, 0)) + options + inside
        following = extension
    return packet(source, destination, following, inside)


def solicitation(source: str, target: str, option: bytes = b"", *extensions: int) -> bytes:
    """Who has `target`? To its solicited-node group. Type 135."""
    return icmp6(source, solicited(target), 135, bytes(4) + _address(target) + option, *extensions)


def advertisement(source: str, to: str, target: str, option: bytes = b"", *extensions: int) -> bytes:
    """`target` is here: solicited, and overriding what is known. Type 136."""
    body = struct.pack(">I", 0x60000000) + _address(target) + option
    return icmp6(source, to, 136, body, *extensions)


def router(source: str, mac: str, prefix: str, *extensions: int) -> bytes:
    """`source` is a router, for everybody, with a prefix to take addresses from. Type 134."""
    body = struct.pack(">BBHII", 64, 0, 1800, 0, 0) + lladdr(1, mac)
    body += struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 1800, 1800, 0) + _address(prefix)
    return icmp6(source, "ff02::1", 134, body, *extensions)


def redirect(source: str, to: str, target: str, destination: str) -> bytes:
    """For `destination` there is a better first hop. Type 137."""
    return icmp6(source, to, 137, bytes(4) + _address(target) + _address(destination))


def lladdr(kind: int, mac: str) -> bytes:
    """The option with a MAC: 1 for the source's, 2 for the target's."""
    return bytes((kind, 1)) + _mac(mac)


def solicited(address: str) -> str:
    """The multicast group of an address (RFC 4291)."""
    return str(ip_address(bytes.fromhex("ff0200000000000000000001ff") + _address(address)[13:]))


def group_mac(group: str) -> str:
    """The MAC of an IPv6 multicast group."""
    return (b"\x33\x33" + _address(group)[12:]).hex(":")


def dns_answer(query: bytes, address: str) -> bytes:
    """An answer to a query of one question: that it is at `address`."""
    head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
    question = query[12 : query.index(b"\0", 12) + 5]
    return head + question + struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + _address(address)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _address(text: str) -> bytes:
    return ip_address(text).packed


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
