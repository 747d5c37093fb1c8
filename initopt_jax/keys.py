"""Named random streams: every draw of a lane comes from its seed, a purpose and a name.

Three independent streams per seed keep comparisons paired: two optimizers with the same `data`
seed see the same batches, two initializers with the same `init` seed start from the same draws.
"""

import zlib
from typing import Literal

import jax

from initopt_jax.types import Array

Stream = Literal["init", "data", "noise"]
NOISE_KEY = "noise_key"  # among the numbers of a transformation: the key of its lane's stream


def stable_hash(name: str) -> int:
    """A 32-bit number of a name (CRC-32) that is the same in every process and version.

    >>> stable_hash("dense_0/kernel")
    1001978831
    """
    return zlib.crc32(name.encode("utf-8"))


def stream_key(seed: int | Array, stream: Stream) -> Array:
    """The key of one stream of one seed: `fold_in(key(seed), crc32(stream))`."""
    return named_key(jax.random.key(seed), stream)


def named_key(key: Array, name: str) -> Array:
    """The key of a name under a parent key: adding or removing names changes no other name's."""
    return jax.random.fold_in(key, stable_hash(name))
