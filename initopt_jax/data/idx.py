"""The idx format of MNIST and its family: a header, then bytes."""

import gzip
import io
import math
import struct
import zlib

import numpy as np

from initopt_jax.errors import ConfigError
from initopt_jax.memory import require_memory

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
    start = 4 + 4 * ndim
    try:
        with _unpacked(content) as file:
            head = file.read(start)
            if len(head) < start or head[:4] != bytes([0, 0, _UNSIGNED_BYTE, ndim]):
                raise ConfigError(
                    f"{name} is no idx file of unsigned bytes with {ndim} axes: it begins with "
                    f"{head[:4].hex(' ') or 'nothing'}, expected 00 00 08 {ndim:02x}"
                )
            shape = struct.unpack(f">{ndim}I", head[4:])
            size = math.prod(shape)
            require_memory(size, name, "copy or download it again")
            body = file.read(size + 1)  # no more, however much is packed in the file
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{name} is damaged: it cannot be unpacked ({error})") from None
    if len(body) != size:
        more = "more" if len(body) > size else f"{len(body):,}"
        raise ConfigError(
            f"{name} is damaged: its header promises {size:,} values of shape {shape}, and it "
            f"holds {more}"
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def _unpacked(content: bytes) -> io.BufferedIOBase:
    plain = io.BytesIO(content)
    return gzip.GzipFile(fileobj=plain) if content.startswith(_GZIP) else plain
