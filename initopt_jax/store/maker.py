"""The mark of who made a study: of its config and source files, under a key that stays at home.

Whoever gets a study cannot tell from its files whose they are. A mark that only this account can
make tells one's own studies, wherever they were moved, from those of others.
"""

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DRAWN_LATER = ("landscapes", "device_data")  # keys of a config that may change afterwards
KEY_BYTES = 32


def mark(manifest: Mapping[str, Any]) -> str | None:
    """The mark of a study made by this account; None where no key can be kept."""
    key = _key(make=True)
    return _mark(manifest, key) if key else None


def is_own(manifest: Mapping[str, Any]) -> bool:
    """Whether this account made a study with this config and these texts of its source files."""
    key, known = _key(make=False), manifest.get("mark")
    if key is None or not isinstance(known, str):
        return False
    try:
        return hmac.compare_digest(_mark(manifest, key), known)
    except (AttributeError, KeyError, TypeError):  # of a manifest that is damaged
        return False


def key_file() -> Path:
    """`initopt-jax/key` in XDG_STATE_HOME, else in `.local/state` of the user's home."""
    root = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    return root / "initopt-jax" / "key"


def _mark(manifest: Mapping[str, Any], key: bytes) -> str:
    config = {name: v for name, v in manifest["config"].items() if name not in DRAWN_LATER}
    texts = {name: entry["sha256"] for name, entry in (manifest["sources"] or {}).items()}
    content = json.dumps([config, texts, manifest.get("data_root")], sort_keys=True)
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()


def _key(*, make: bool) -> bytes | None:
    """The account's key. Two processes that make it at once end up with one."""
    try:
        path = key_file()
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, new = tempfile.mkstemp(dir=path.parent)  # which others cannot read
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(secrets.token_bytes(KEY_BYTES))
                os.link(new, path)
            except FileExistsError:
                pass
            finally:
                Path(new).unlink()
        content = path.read_bytes() if path.is_file() else b""
    except (OSError, RuntimeError):  # no home, or none that can be written to
        return None
    return content if len(content) == KEY_BYTES else None
