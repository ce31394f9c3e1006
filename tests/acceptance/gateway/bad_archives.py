"""Zip files that are no project, each in its own way."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable

from tests.acceptance.gateway.kit import EMPTY_HANDLER, archive


def link(target: str, name: str = "handler.py") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, target)
        packed.writestr("other.py", EMPTY_HANDLER)
    return buffer.getvalue()


def special(mode: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("handler.py", EMPTY_HANDLER)
        info = zipfile.ZipInfo("special")
        info.create_system = 3
        info.external_attr = (mode | 0o666) << 16
        packed.writestr(info, "")
    return buffer.getvalue()


def named(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("handler.py", EMPTY_HANDLER)
        for name in names:
            packed.writestr(name, "evil")
    return buffer.getvalue()


def bomb(megabytes: int, files: int = 1) -> bytes:
    """Zeros, of which a thousand become one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        packed.writestr("handler.py", EMPTY_HANDLER)
        for number in range(files):
            with packed.open(f"zeros-{number}", "w") as file:
                for _ in range(megabytes):
                    file.write(bytes(2**20))
    return buffer.getvalue()


def lying_bomb() -> bytes:
    """Says that it unpacks to ten bytes, and unpacks to 40 MiB."""
    data = bytearray(bomb(40))
    size = struct.pack("<I", 40 * 2**20)
    at = -1
    while (at := data.find(size, at + 1)) >= 0:
        data[at : at + 4] = struct.pack("<I", 10)
    return bytes(data)


def overlapping() -> bytes:
    """Many entries that share one compressed file, as quoted bombs do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("handler.py", EMPTY_HANDLER)
        packed.writestr("zeros", bytes(2**20))
        zeros = packed.getinfo("zeros")
        for number in range(100):
            info = zipfile.ZipInfo(f"zeros-{number}")
            for name in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(info, name, getattr(zeros, name))
            packed.filelist.append(info)
            packed.NameToInfo[info.filename] = info
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(archive({"handler.py": EMPTY_HANDLER}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + offset] |= 1
    return bytes(data)


def bad_crc() -> bytes:
    data = bytearray(archive({"handler.py": EMPTY_HANDLER}))
    for signature, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        at = data.find(signature) + offset
        data[at] ^= 0xFF
    return bytes(data)


GOOD_ZIP = archive({"handler.py": EMPTY_HANDLER})
BAD_ZIPS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no zip": lambda: b"hello" * 100,
    "a tar": lambda: b"handler.py" + bytes(502),
    "cut off": lambda: GOOD_ZIP[: len(GOOD_ZIP) // 2],
    "an empty archive": lambda: archive({}),
    "no handler in it": lambda: archive({"other.py": EMPTY_HANDLER}),
    "a link to a file of this machine": lambda: link("/etc/passwd"),
    "a link within": lambda: link("other.py"),
    "a link beside the handler": lambda: link("/etc", name="data"),
    "a device": lambda: special(stat.S_IFCHR),
    "a pipe": lambda: special(stat.S_IFIFO),
    "a way out": lambda: named("../evil.py"),
    "a way out further in": lambda: named("a/../../evil.py"),
    "an absolute path": lambda: named("/evil.py"),
    "a way out with backslashes": lambda: named("..\\evil.py"),
    "a drive": lambda: named("C:\\evil.py"),
    "a file below a file": lambda: named("handler.py/evil.py"),
    "too much": lambda: bomb(40),
    "too much in many files": lambda: bomb(4, files=10),
    "a bomb": lambda: bomb(300),
    "a bomb that lies": lying_bomb,
    "entries that overlap": overlapping,
    "encrypted": encrypted,
    "damaged": bad_crc,
}
