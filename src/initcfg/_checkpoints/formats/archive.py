"""Zip archives as torch writes them: every member stored as it is, its bytes read where they lie."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from initcfg._checkpoints.formats.spans import Span
from initcfg.errors import CheckpointError

_LOCAL = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1


class Archive:
    """The table of an archive, and its members as far as they are asked for."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self._table: dict[str, zipfile.ZipInfo] = {}
        try:
            with zipfile.ZipFile(_File(span)) as opened:
                entries = opened.infolist()
        except CheckpointError:
            raise
        # A damaged table ends in whatever it comes upon.
        except Exception as error:
            raise span.damaged(f"it is not a whole zip archive ({error})") from error
        for entry in entries:
            parts = entry.filename.replace("\\", "/").split("/")
            if ".." in parts or entry.filename.startswith(("/", "\\")) or "\0" in entry.filename:
                raise span.damaged(f"a member is called {entry.filename!r}, which leads out of the archive")
            if entry.filename in self._table:
                raise span.damaged(f"the member {entry.filename!r} is there twice")
            self._table[entry.filename] = entry
        self._check_overlap(entries)

    def _check_overlap(self, entries: list[zipfile.ZipInfo]) -> None:
        """Refuse bytes that two members have: a small file would hold more than its size."""
        end, before = 0, ""
        for entry in sorted(entries, key=lambda each: each.header_offset):
            if entry.header_offset < end:
                raise self.span.damaged(f"the members {before!r} and {entry.filename!r} overlap")
            end = entry.header_offset + _LOCAL.size + len(entry.orig_filename) + entry.compress_size
            before = entry.filename

    def root(self, file: str) -> str:
        """The one folder that has ``file`` in it."""
        found = [name for name in self._table if name.count("/") == 1 and name.endswith("/" + file)]
        if len(found) == 1:
            return found[0].removesuffix("/" + file)
        what = f"has {len(found)} folders with a {file}" if found else f"has no {file}"
        raise self.span.refused(
            f"is a zip archive that {what}, so torch.save did not write it",
            "Give the file that was packed, not an archive of it.",
        )

    def names(self, ending: str) -> list[str]:
        """The members that end so, in the order of the table."""
        return [name for name in self._table if name.endswith(ending)]

    def compressed(self, name: str) -> tuple[int, int, int] | None:
        """Where a compressed member begins, its bytes there and unpacked; None if it is stored as it is."""
        entry = self._table[name]
        if entry.compress_type != zipfile.ZIP_DEFLATED or entry.flag_bits & _ENCRYPTED:
            return None
        start = self._start(name, entry)
        self.span.check(start, entry.compress_size, f"the member {name!r}")
        return start, entry.compress_size, entry.file_size

    def __contains__(self, name: str) -> bool:
        return name in self._table

    def member(self, name: str) -> tuple[int, int]:
        """Where the bytes of a member begin, and how many they are."""
        entry = self._table.get(name)
        if entry is None:
            raise self.span.damaged(f"the member {name!r} is missing")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise self.span.refused(
                f"has its member {name!r} compressed or encrypted (to {entry.compress_size:,} bytes of "
                f"{entry.file_size:,}), which torch.save never does",
                "Unpack it and save the tensors again with torch.save.",
            )
        if entry.file_size != entry.compress_size:
            raise self.span.damaged(f"the member {name!r} has two sizes")
        start = self._start(name, entry)
        self.span.check(start, entry.file_size, f"the member {name!r}")
        return start, entry.file_size

    def _start(self, name: str, entry: zipfile.ZipInfo) -> int:
        """Behind the member's own header, which must say the same as the table."""
        head = self.span.read(entry.header_offset, _LOCAL.size, f"the header of {name!r}")
        magic, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL.unpack(head)
        place = entry.header_offset + _LOCAL.size
        own = self.span.read(place, name_length + extra_length, f"the header of {name!r}")
        same = own[:name_length] == (entry.orig_filename.encode("utf-8"))
        if magic != b"PK\x03\x04" or not same or method != entry.compress_type or flags & _ENCRYPTED:
            raise self.span.damaged(f"the header of the member {name!r} is not what the table says")
        end = name_length
        # The parts of the padding must fill it: a wrong length would shift all numbers.
        while end + 4 <= len(own):
            end += 4 + int.from_bytes(own[end + 2 : end + 4], "little")
        if end != len(own):
            raise self.span.damaged(f"the header of the member {name!r} has a wrong length")
        return place + len(own)

    def read(self, name: str, most: int) -> bytes:
        """The bytes of a small member, checked."""
        start, size = self.member(name)
        if size > most:
            raise self.span.damaged(f"the member {name!r} has {size:,} bytes")
        data = self.span.read(start, size)
        # Zero is what writers say who computed none.
        if self._table[name].CRC not in (0, zlib.crc32(data)):
            raise self.span.damaged(f"the member {name!r} does not have its checksum")
        return data


class _File(io.RawIOBase):
    """A stretch of a file as a file."""

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span
        self.place = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self.place, self.span.size)[whence]
        if start + offset < 0:
            raise ValueError("a position before the beginning")
        self.place = start + offset
        return self.place

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.span.size - self.place)
        count = left if size is None or size < 0 else min(size, left)
        data = self.span.read(self.place, count) if count else b""
        self.place += count
        return data
