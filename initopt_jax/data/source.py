"""What a source of data is: a registry entry, and the question that `load` puts to it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from initopt_jax.data.split import SplitSpec
from initopt_jax.types import Dataset

Kind = Literal["classification", "regression"]
TaskKind = Literal["classification", "regression", "reconstruction"]
COMMON = ("normalize", "limit", "label_noise")  # options of every source


@dataclass(frozen=True)
class Request:
    """What is asked of a source besides its own options.

    Attributes:
        name: as written in the config, such as `digits` or `tfds:mnist`.
        kind: what the task needs.
        split: how the examples are divided.
        data_dir: the folder of prepared TFDS sets; None for the default. Other sources ignore it.
        folders: where a relative path is looked for, the first that holds it; empty for the current
            folder.
        normalize: whether the arrays are normalized by their training statistics.
        limit: keep at most so many training examples.
    """

    name: str
    kind: Kind
    split: SplitSpec
    data_dir: str | None = None
    folders: tuple[Path, ...] = ()
    normalize: bool = True
    limit: int | None = None

    @property
    def path(self) -> str:
        """What follows the prefix of the name: `pictures` of `folder:pictures`."""
        return self.name.partition(":")[2]


@dataclass(frozen=True)
class DatasetSource:
    """Registry entry of one source of data.

    Attributes:
        name: as written in a config; `prefix:PATH` where a path or a name follows.
        load: `(request, *, **options) -> Dataset`; the options of `COMMON` are not among them.
        kinds: the targets that it can give. A reconstruction takes the inputs of the first.
        description: one line, plain text.
        reference: authors, year, title.
        normalize: what the option `normalize` is by default.
    """

    name: str
    load: Callable[..., Dataset]
    kinds: tuple[Kind, ...]
    description: str
    reference: str
    normalize: bool = True

    @property
    def prefix(self) -> str:
        """How names begin that this source serves: `folder:`; empty where it has one name."""
        head, colon, _ = self.name.partition(":")
        return head + colon if colon else ""
