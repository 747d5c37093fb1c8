"""What was ever found: a small file per finding, tried again by the tests for ever."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.outcome import Outcome

CORPUS = Path(__file__).with_name("corpus")


@dataclass(frozen=True)
class Finding:
    """A try that did not end as it should.

    Attributes:
        kind: of the try, see `kinds`.
        given: what was tried, as plain values.
        found: how it ended when it was found.
        version: of the package that it was found in.
        known: why it still ends so, where that is known; empty once it is mended.
    """

    kind: str
    given: Mapping[str, Any]
    found: Outcome
    version: str
    known: str = ""

    @property
    def name(self) -> str:
        """Of its file: the kind, and what tells it from other findings."""
        told = f"{self.found.verdict} {self.found.where}"
        return f"{self.kind}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"

    def write(self, folder: Path = CORPUS) -> Path:
        """Into its file; what was found the same way before is kept, as it may be smaller."""
        path = folder / f"{self.name}.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def read(path: Path) -> Finding:
    """A finding from its file."""
    values = json.loads(path.read_text())
    return Finding(**{**values, "found": Outcome(**values["found"])})


def everything(folder: Path = CORPUS) -> list[Path]:
    """The files of all findings."""
    return sorted(folder.glob("*.json"))
