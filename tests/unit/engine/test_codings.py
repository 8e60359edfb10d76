"""Content codings, beyond what the table of the origin shows."""

from __future__ import annotations

import zlib

from ckanext.archiver.engine import codings


def test_the_decoder_never_holds_more_than_a_piece() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    pieces = codings.decoded(iter([bomb]), ("deflate",))
    assert max(len(piece) for piece in pieces) <= 65_536
