"""File and line of a machine instruction, from a shared library's DWARF 4 line tables.

Read here, since the machines that compile with Zig's compiler have no addr2line.
"""

import bisect
import functools
import struct
from pathlib import Path

_ADVANCE_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE = 1, 2, 3, 4
_CONST_ADD_PC, _FIXED_ADVANCE_PC = 8, 9
_END_SEQUENCE, _SET_ADDRESS = 1, 2


class LineTable:
    """`find(address)` gives (file, line), or None."""

    def __init__(self, path):
        rows = sorted(_rows(_section(Path(path).read_bytes(), b".debug_line")), key=lambda row: row[0])
        self._addresses = [row[0] for row in rows]
        self._places = [row[1] for row in rows]

    def find(self, address):
        at = bisect.bisect_right(self._addresses, address) - 1
        return self._places[at] if at >= 0 else None


@functools.lru_cache(maxsize=64)
def line_table(path):
    return LineTable(path)


def _section(image, wanted):
    """Content of an ELF section; empty if there is none."""
    (offset,) = struct.unpack_from("<Q", image, 0x28)
    size, count, names_at = struct.unpack_from("<HHH", image, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", image, offset + size * number) for number in range(count)]
    names = headers[names_at][4]
    for header in headers:
        begin = names + header[0]
        if image[begin : image.index(b"\0", begin)] == wanted:
            return image[header[4] : header[4] + header[5]]
    return b""


class _Reader:
    def __init__(self, data, at, end):
        self.data, self.at, self.end = data, at, end

    def number(self, format):
        (value,) = struct.unpack_from("<" + format, self.data, self.at)
        self.at += struct.calcsize(format)
        return value

    def leb128(self, signed=False):
        value = shift = 0
        while True:
            byte = self.number("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value - (1 << shift) if signed and byte & 0x40 else value

    def string(self):
        end = self.data.index(b"\0", self.at)
        text = self.data[self.at : end].decode(errors="replace")
        self.at = end + 1
        return text


def _rows(data):
    """(address, (file, line) or None at the end of a sequence) of all units of version 2 to 4."""
    at = 0
    while at + 4 < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        end = at + 4 + length
        reader = _Reader(data, at + 4, end)
        if reader.number("H") <= 4:
            yield from _unit(reader)
        at = end


def _unit(reader):
    header_length = reader.number("I")
    program = reader.at + header_length
    shortest = reader.number("B")
    if struct.unpack_from("<H", reader.data, reader.at - 7)[0] >= 4:
        reader.number("B")  # operations an instruction: 1
    reader.number("B")  # default is_stmt
    line_base, line_range, opcode_base = reader.number("b"), reader.number("B"), reader.number("B")
    operands = [reader.number("B") for _ in range(opcode_base - 1)]
    folders = [""]
    while folder := reader.string():
        folders.append(folder)
    files = [""]
    while name := reader.string():
        folder = folders[reader.leb128()]
        reader.leb128(), reader.leb128()  # time, size
        files.append(f"{folder}/{name}" if folder else name)

    reader.at = program
    address, file, line = 0, 1, 1

    def place():
        return (files[file] if file < len(files) else "?", line)

    while reader.at < reader.end:
        opcode = reader.number("B")
        if opcode >= opcode_base:
            address += (opcode - opcode_base) // line_range * shortest
            line += line_base + (opcode - opcode_base) % line_range
            yield address, place()
        elif opcode == 0:
            length = reader.leb128()
            following = reader.at + length
            extended = reader.number("B")
            if extended == _END_SEQUENCE:
                yield address, None
                address, file, line = 0, 1, 1
            elif extended == _SET_ADDRESS:
                address = reader.number("Q")
            reader.at = following
        elif opcode == _ADVANCE_COPY:
            yield address, place()
        elif opcode == _ADVANCE_PC:
            address += reader.leb128() * shortest
        elif opcode == _ADVANCE_LINE:
            line += reader.leb128(signed=True)
        elif opcode == _SET_FILE:
            file = reader.leb128()
        elif opcode == _CONST_ADD_PC:
            address += (255 - opcode_base) // line_range * shortest
        elif opcode == _FIXED_ADVANCE_PC:
            address += reader.number("H")
        else:
            for _ in range(operands[opcode - 1]):
                reader.leb128()
