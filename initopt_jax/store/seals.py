"""Seals: what tells that a file is as it was written, and whose it is.

A seal is a checksum over a content that names the study it belongs to. It finds damage, edits and
mix-ups. It is no signature: who means to deceive can make it anew.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "seal"


def digest(content: bytes) -> str:
    """The checksum of bytes."""
    return hashlib.sha256(content).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with a seal over the rest of it."""
    plain = json.loads(json.dumps({name: content[name] for name in content if name != SEAL}))
    return {**plain, SEAL: _digest(plain)}


def is_sealed(content: Any) -> bool:
    """Whether an object that was read from JSON has the seal that `sealed` gave it.

    However its text was laid out; no value of it may differ.

    >>> given = sealed({"study": "a", "seconds": 0.1})
    >>> is_sealed(given), is_sealed(given | {"seconds": 0.2}), is_sealed([])
    (True, False, False)
    """
    if not isinstance(content, dict) or SEAL not in content:
        return False
    return content[SEAL] == _digest({name: content[name] for name in content if name != SEAL})


def _digest(plain: Mapping[str, Any]) -> str:
    return digest(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())
