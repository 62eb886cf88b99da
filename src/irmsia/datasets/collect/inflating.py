"""Unpacking deflated bytes in pieces of bounded size, however much is packed into few."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

GZIP, RAW = 31, -15
_PIECE = 1 << 20


def inflated(chunks: Iterable[bytes], wbits: int, *, members: bool = False) -> Iterator[bytes]:
    """The unpacked bytes, at most a mebibyte a piece.

    Args:
        chunks: the packed ones.
        wbits: `GZIP` or `RAW`.
        members: whether several streams may follow one another, and zeros the last one (RFC 1952 section 2.2).

    Raises:
        zlib.error: they are damaged, or something follows their end.
        EOFError: they end early.
    """
    inflate = zlib.decompressobj(wbits)
    begun, done = False, False
    for chunk in chunks:
        rest = chunk
        while rest:
            if inflate.eof:
                if not members or (done and rest.strip(b"\0")):
                    raise zlib.error("bytes after the end")
                done = done or not rest.strip(b"\0")
                if done:
                    break
                inflate = zlib.decompressobj(wbits)
            begun = True
            yield inflate.decompress(rest, _PIECE)
            rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    while not inflate.eof and (piece := inflate.decompress(b"", _PIECE)):
        yield piece
    if not begun or not inflate.eof:
        raise EOFError
