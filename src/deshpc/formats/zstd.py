"""A Zstandard file as a stream of bytes in bounded memory, of one frame or several, which knows a truncated one."""

from deshpc.errors import DataError

MAGIC = b"\x28\xb5\x2f\xfd"

_READ_BYTES = 2048
"""Compressed bytes read at a time: as a block of 128 KiB takes 4 bytes at least, they become 64 MiB at most."""


class ZstdFile:
    """`readinto` as that of a file.  ValueError where the data are damaged, EOFError where they end within a frame.

    file : the compressed file, open for reading
    path : its name in errors
    """

    def __init__(self, file, path):
        try:
            import zstandard
        except ImportError:
            raise DataError(f"{path}: Zstandard files need the package zstandard: pip install 'deshpc[data]'") from None
        self._file, self._zstandard = file, zstandard
        self._compressed = b""
        self._frame = None  # the decompressor of the frame that is under way
        self._text = memoryview(b"")

    def readinto(self, buffer):
        """Fill some of `buffer`; the number of bytes, 0 at the end of the file."""
        while not self._text:
            self._compressed = self._compressed or self._file.read(_READ_BYTES)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("Compressed file ended before the end of its last frame")
                return 0
            self._decompress()
        size = min(len(buffer), len(self._text))
        buffer[:size] = self._text[:size]
        self._text = self._text[size:]
        return size

    def readinto1(self, buffer):
        """The same: no more is read than it takes for some bytes."""
        return self.readinto(buffer)

    def _decompress(self):
        if self._frame is None:
            self._frame = self._zstandard.ZstdDecompressor().decompressobj()
        try:
            self._text = memoryview(self._frame.decompress(self._compressed))
        except self._zstandard.ZstdError as error:
            raise ValueError(str(error)) from None
        self._compressed = b""
        if self._frame.eof:
            self._compressed, self._frame = self._frame.unused_data, None
