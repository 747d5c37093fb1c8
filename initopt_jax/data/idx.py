"""The idx format of MNIST and its family: a header, then bytes."""

import gzip
import math
import struct
import zlib

import numpy as np

from initopt_jax.errors import ConfigError

_UNSIGNED_BYTE = 8  # the format's number for this type; the family has no other
_GZIP = b"\x1f\x8b"


def read_idx(content: bytes, *, name: str, ndim: int) -> np.ndarray:
    """The array of an idx file, packed by gzip or not.

    Two zero bytes, the type (8: unsigned bytes), the number of axes; the size of each axis as a
    big-endian 32-bit integer; then the values, the last axis fastest.

    Args:
        content: all of the file.
        name: how messages call it.
        ndim: axes that are expected: 3 for pictures, 1 for labels.

    Returns:
        uint8 array, read-only.

    Raises:
        ConfigError: the file is damaged or holds something else.

    Reference: LeCun, Cortes & Burges, The MNIST database of handwritten digits (file formats).

    >>> header = bytes([0, 0, 8, 1, 0, 0, 0, 3])
    >>> read_idx(header + bytes([7, 8, 9]), name="labels", ndim=1).tolist()
    [7, 8, 9]
    """
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"{name} is damaged: it cannot be unpacked ({error})") from None
    start = 4 + 4 * ndim
    if len(content) < start or content[:4] != bytes([0, 0, _UNSIGNED_BYTE, ndim]):
        raise ConfigError(
            f"{name} is no idx file of unsigned bytes with {ndim} axes: it begins with "
            f"{content[:4].hex(' ') or 'nothing'}, expected 00 00 08 {ndim:02x}"
        )
    shape = struct.unpack(f">{ndim}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise ConfigError(
            f"{name} is damaged: its header promises {math.prod(shape):,} values of shape {shape}, "
            f"and it holds {len(content) - start:,}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
