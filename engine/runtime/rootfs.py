"""The root file system of a container: an overlay of the image's layers under a writable one.

The mount is made with the kernel's fsopen interface, called directly: mount(2) takes its options as one page of text
and silently cuts what is longer, which for an image of many layers means a mount without its writable layer. Each
layer is handed over by a call of its own. Kernels before 6.8 do not know `lowerdir+`, and take no more than 256 bytes
in one call of the new interface; there mount(2) is used after all, with the directories named by /proc/self/fd where
the text would not fit. Runs no program.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from netpy.errors import InvalidArgument, KernelError, Unsupported
from netpy.faults import point

_libc = ctypes.CDLL(None, use_errno=True)
# Numbers of system calls that came after 5.1 are the same on every architecture.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 428, 429, 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_SET_STRING, _CMD_CREATE = 1, 6
_SYS_MOUNT_SETATTR, _ATTR_RDONLY, _AT_EMPTY_PATH = 442, 1, 0x1000
_MOVE_MOUNT_F_EMPTY_PATH = 4
_OPEN_TREE_CLONE = 1
_AT_FDCWD = -100
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_PAGE = 4096
# Whatever the machine's defaults are: a writable layer is read as it lies on disk, by commit and diff, and must
# therefore hold whole files, and directories under their own names.
_PLAIN = ((b"redirect_dir", b"off"), (b"metacopy", b"off"), (b"index", b"off"))


def mount(layers: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
    """Mount an overlay on `target`. `layers` is the image's directories, topmost first; `upper` and `work` are on one
    file system. The three directories are made if missing. A `target` that is mounted already is left as it is.

    Like `mount -t overlay -o lowerdir=A:B,upperdir=U,workdir=W overlay TARGET`. Raises KernelError.
    """
    if not layers:
        raise InvalidArgument(f"cannot mount a root file system on {target}: the image has no layers")
    for directory in (upper, work, target):
        directory.mkdir(parents=True, exist_ok=True)
    if target.is_mount():
        return
    # The mark of a `volatile` mount that did not end well would refuse the next one.
    with suppress(FileNotFoundError):
        (work / "work" / "incompat" / "volatile").rmdir()
    point("before mounting a file system")
    try:
        _mount_by_context(layers, upper, work, target)
    except _Refused as refusal:
        _mount_by_text(layers, upper, work, target, refusal)
    point("after mounting a file system")


class _Refused(Exception):
    """The new interface did not take the configuration; the text is why."""


def _mount_by_context(layers: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
    try:
        context = _call(_SYS_FSOPEN, b"overlay", _FSOPEN_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise Unsupported("this kernel has no overlay file system: load the module overlay") from None
        raise _Refused(f"fsopen: {error.strerror}") from None
    try:
        _configure(context, layers, upper, work)
        _attach(context, target)
    finally:
        os.close(context)


def _configure(context: int, layers: Sequence[Path], upper: Path, work: Path) -> None:
    try:
        _set(context, b"source", b"overlay")
        for layer in layers:
            _set(context, b"lowerdir+", os.fsencode(layer))
        _set(context, b"upperdir", os.fsencode(upper))
        _set(context, b"workdir", os.fsencode(work))
        for option, value in _PLAIN:
            _set(context, option, value)
        _call(_SYS_FSCONFIG, context, _CMD_CREATE, None, None, 0)
    except OSError as error:
        raise _Refused(_messages(context) or str(error.strerror)) from None


def _mount_by_text(layers: Sequence[Path], upper: Path, work: Path, target: Path, refusal: _Refused) -> None:
    with ExitStack() as opened:
        options = _options([os.fsencode(path) for path in (*layers, upper, work)])
        if len(options) >= _PAGE or any(byte in os.fsencode(path) for path in layers for byte in b":,\\"):
            options = _options([b"/proc/self/fd/%d" % _directory(path, opened) for path in (*layers, upper, work)])
        if len(options) >= _PAGE:
            raise KernelError(f"cannot mount an overlay on {target}: {len(layers)} layers are too many for this kernel")
        if _libc.mount(b"overlay", os.fsencode(target), b"overlay", 0, options) != 0:
            number = ctypes.get_errno()
            raise KernelError(f"cannot mount an overlay on {target}: {os.strerror(number)} ({refusal})")


def _options(directories: Sequence[bytes]) -> bytes:
    *layers, upper, work = directories
    plain = b",".join(b"%s=%s" % option for option in _PLAIN)
    return b"lowerdir=%s,upperdir=%s,workdir=%s,%s" % (b":".join(layers), upper, work, plain)


def _directory(path: Path, opened: ExitStack) -> int:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened.callback(os.close, fd)
    return fd


def _attach(context: int, target: Path) -> None:
    try:
        tree = _call(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
        try:
            attach(tree, target)
        finally:
            os.close(tree)
    except OSError as error:
        raise KernelError(f"cannot mount an overlay on {target}: {error.strerror}") from None


def attach(tree: int, target: Path) -> None:
    """Attach the detached mount of descriptor `tree`. Raises OSError."""
    _call(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)


def copy(mounted: Path) -> int:
    """A copy of what is mounted there, attached nowhere: its descriptor. It keeps the file system alive.

    Like `mount --bind` without a target. Raises OSError.
    """
    return _call(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(mounted), _OPEN_TREE_CLONE | os.O_CLOEXEC)


def protect(tree: int) -> None:
    """Nobody shall write through the mount of descriptor `tree`. Raises OSError."""
    attributes = struct.pack("=QQQQ", _ATTR_RDONLY, 0, 0, 0)
    _call(_SYS_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, len(attributes))


def _messages(context: int) -> str:
    """The kernel's own words on why a configuration failed: one message a read, `e overlay: …`."""
    lines: list[str] = []
    with suppress(OSError):
        while message := os.read(context, 4096):
            lines.append(message.decode(errors="replace").strip().removeprefix("e "))
    return "; ".join(lines)


def unmount(target: Path) -> None:
    """Take the file system away from `target`, also while somebody has files open in it. Idempotent.

    Like `umount --lazy TARGET`. Raises KernelError.
    """
    point("before unmounting a file system")
    while True:
        if _libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
            continue  # more than one may be stacked
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOENT):
            return
        raise KernelError(f"cannot unmount {target}: {os.strerror(number)}")


def _set(context: int, key: bytes, value: bytes) -> None:
    _call(_SYS_FSCONFIG, context, _SET_STRING, key, value, 0)


_syscall: Callable[..., int] = _libc.syscall


def _call(number: int, *arguments: int | bytes | None) -> int:
    result = _syscall(ctypes.c_long(number), *(_argument(value) for value in arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _argument(value: int | bytes | None) -> ctypes.c_long | ctypes.c_char_p:
    return ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value)
