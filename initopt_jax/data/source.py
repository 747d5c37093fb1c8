"""What a source of data is: a registry entry, and the question that `load` puts to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from initopt_jax.data.split import SplitSpec
from initopt_jax.types import Dataset

Kind = Literal["classification", "regression"]


@dataclass(frozen=True)
class Request:
    """What is asked of a source besides its own options.

    Attributes:
        name: as written in the config, such as `digits` or `tfds:mnist`.
        kind: what the task needs.
        split: how the examples are divided.
        data_dir: the folder of prepared sets; None for the default. Bundled sets ignore it.
    """

    name: str
    kind: Kind
    split: SplitSpec
    data_dir: str | None = None


@dataclass(frozen=True)
class DatasetSource:
    """Registry entry of one source of data.

    Attributes:
        name: as written in a config.
        load: `(request, *, **options) -> Dataset`.
        kinds: the tasks that it can serve.
        description: one line, plain text.
        reference: authors, year, title.
    """

    name: str
    load: Callable[..., Dataset]
    kinds: tuple[Kind, ...]
    description: str
    reference: str
