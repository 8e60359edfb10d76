"""Content codings (gzip, deflate), decoded as a stream: no coding makes a fetch hold more than one piece."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from .failure import server_error

DECODABLE = frozenset({"gzip", "x-gzip", "deflate"})

# Codings that are not asked for and cannot be decoded here. Words that are no coding ("utf-8", "aws-chunked", "none")
# stand in the header on real servers; browsers ignore them.
UNDECODABLE = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "bzip2", "xz"})

MAX_CODINGS = 5
"""Codings on top of each other, as in curl: each costs memory, and a header has room for thousands."""

_PIECE_BYTES = 65_536


class Decoder:
    """Decodes one coding piece by piece, never holding more than one piece.

    gzip may have several members one after another (RFC 1952 §2.2). "deflate" is zlib by RFC 9110 §8.4.1.2, and raw
    deflate on some servers.
    """

    def __init__(self, coding: str) -> None:
        self._gzip = coding in ("gzip", "x-gzip")
        self._zlib = zlib.decompressobj(31 if self._gzip else 15)
        self._fresh = True
        self._ended = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        """:raises Failure: the data is not of that coding"""
        try:
            yield from self._decode(data)
        except zlib.error as e:
            raise server_error("bad-encoding") from e

    def finish(self) -> None:
        """:raises Failure: the coded data is incomplete"""
        if not self._zlib.eof and not self._fresh:
            raise server_error("bad-encoding")

    def _decode(self, data: bytes) -> Iterator[bytes]:
        while data and not self._ended:
            if self._zlib.eof:
                if not self._gzip or data[:1] != b"\x1f":
                    self._ended = True  # padding after the last member, which gzip(1) ignores as well
                    return
                self._zlib = zlib.decompressobj(31)
            piece = self._first(data) if self._fresh and not self._gzip else self._inflate(data)
            self._fresh = False
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            if piece:
                yield piece

    def _inflate(self, data: bytes) -> bytes:
        return self._zlib.decompress(data, _PIECE_BYTES)

    def _first(self, data: bytes) -> bytes:
        try:
            return self._inflate(data)
        except zlib.error:
            self._zlib = zlib.decompressobj(-15)
            return self._inflate(data)


def _unlimited(decoded_bytes: int) -> None:
    """Allows any expansion."""


def decoded(
    parts: Iterator[bytes], codings: tuple[str, ...], check_expansion: Callable[[int], None] = _unlimited
) -> Iterator[bytes]:
    """``parts`` with ``codings`` decoded; all of them are in ``DECODABLE``.

    Yields ``b""`` where a part decoded to nothing, so that the reader keeps control: a gzip header may hold a file
    name of gigabytes, and a coding below the last may expand without end.

    :param check_expansion: called with the bytes that a coding has produced so far; raises when they are too many
    :raises Failure: the data is not of these codings
    """
    for coding in codings:
        parts = _decoded_once(parts, Decoder(coding), check_expansion)
    return parts


def _decoded_once(parts: Iterator[bytes], decoder: Decoder, check_expansion: Callable[[int], None]) -> Iterator[bytes]:
    decoded_bytes = 0
    for part in parts:
        for piece in decoder.decode(part):
            decoded_bytes += len(piece)
            check_expansion(decoded_bytes)
            yield piece
        yield b""
    decoder.finish()
