"""Structure of MATLAB files of version 5: SciPy trusts it, and a damaged one ends the process (SIGSEGV).

Layout: "MAT-File Format" by MathWorks, chapter 1: a file is a sequence of tagged elements, some of which hold others.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_VALUES = {*range(1, 8), 9, 12, 13, 16, 17, 18}  # types of numbers and letters
_SPARSE, _OF_VALUES = 5, range(4, 16)  # classes of matrices: text, sparse and full numbers
_COMPLEX_BIT = 0x08
_MAX_DEPTH = 64


def check_elements(path: Path) -> None:
    """Check the tags of every element; files of other versions are left alone.

    Raises:
        ValueError: a type, a length or the number of parts of a matrix cannot be.
    """
    content = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEADER_BYTES], "")
    if order and any(content[:4]):  # the first four bytes of version 4 hold a number below 256 or a zero
        _check_parts(memoryview(content)[_HEADER_BYTES:], order, 0)


def _check_parts(content: memoryview, order: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"its elements are nested in more than {_MAX_DEPTH} levels")
    for kind, part in _list_parts(content, order):
        if kind == _COMPRESSED:
            _check_parts(memoryview(zlib.decompress(part)), order, depth + 1)
        elif kind == _MATRIX:
            _check_matrix(part, order, depth)


def _check_matrix(content: memoryview, order: str, depth: int) -> None:
    parts = list(_list_parts(content, order))
    if not parts:  # an empty cell
        return
    if len(parts[0][1]) < 4:
        raise ValueError("a matrix has no class")
    flags = struct.unpack_from(f"{order}I", parts[0][1])[0]
    kind, is_complex = flags & 0xFF, bool((flags >> 8) & _COMPLEX_BIT)
    if kind in _OF_VALUES:
        num_wanted = (6 if kind == _SPARSE else 4) + is_complex
        if len(parts) != num_wanted or any(each not in _VALUES for each, _ in parts):
            raise ValueError(f"a matrix of class {kind} has {len(parts)} parts, or parts of an unknown type")
    _check_parts(content, order, depth + 1)


def _list_parts(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element."""
    start = 0
    while start < len(content):
        if start + 8 > len(content):
            raise ValueError("an element is cut off")
        kind, num_bytes = struct.unpack_from(f"{order}2I", content, start)
        begin, stop = start + 8, start + 8 + num_bytes
        if kind >> 16:  # at most four bytes, inside the tag
            kind, num_bytes = kind & 0xFFFF, kind >> 16
            begin, stop = start + 4, start + 4 + num_bytes
            if num_bytes > 4:
                raise ValueError(f"an element of type {kind} says that {num_bytes} bytes stand in its tag")
        if kind not in _VALUES | {_MATRIX, _COMPRESSED} or stop > len(content):
            raise ValueError(f"an element has the type {kind} and {num_bytes} bytes")
        yield kind, content[begin:stop]
        start = stop if kind == _COMPRESSED else start + 8 if begin == start + 4 else begin + -(-num_bytes // 8) * 8
