"""What the entries of a config's `landscapes` look like, and what they need of a study."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BeforeValidator, Field

from initopt_jax.config.entries import Count, Name, Strict
from initopt_jax.errors import ConfigError, unknown_name

Points = Annotated[int, Field(ge=3, le=401, strict=True)]
KeepConfig = Literal["final", "every"] | Sequence[int] | None
MOST_PANELS = 12  # of maps beside each other
LEAST_STATES = 3  # of a path: two components need three points


class _CellChoice(Strict):
    """Whose pictures: the tuned cells of these initializers and optimizers, by default of all.

    Attributes:
        examples: the loss is measured on at most so many training examples.
    """

    initializers: list[Name] | None = None
    optimizers: list[Name] | None = None
    examples: Count = 1024


class PathsConfig(_CellChoice):
    """The paths of training on the plane of their first two principal components."""

    name: Literal["paths"]
    points: Points = 61


class SliceConfig(_CellChoice):
    """The loss around the end of training, along filter-normalized random directions.

    Attributes:
        dims: 1 for curves, 2 for maps.
        reach: how far to both sides; at 1 every filter is as far as it is long.
        seed: of the directions, which are drawn alike for all networks.
    """

    name: Literal["slice"]
    dims: Literal[1, 2] = 1
    reach: float = Field(default=1.0, gt=0)
    points: Points = 41
    seed: int = Field(default=0, ge=0, lt=2**32, strict=True)


class LineConfig(_CellChoice):
    """The loss on the straight line between the ends of two seeds of a cell.

    Attributes:
        match: whether the line is also drawn with the units of the second network put in the order
            of the first's.
    """

    name: Literal["line"]
    points: Points = 25
    match: bool = True


class LanesConfig(_CellChoice):
    """The loss on the plane through three networks: of three cells, or three seeds of one."""

    name: Literal["lanes"]
    points: Points = 61


KINDS: dict[str, type[_CellChoice]] = {
    "paths": PathsConfig,
    "slice": SliceConfig,
    "line": LineConfig,
    "lanes": LanesConfig,
}


def _named(value: Any) -> Any:
    """An entry from its name alone; a wrong name is refused with what it may have meant."""
    entry = {"name": value} if isinstance(value, str) else value
    name = entry.get("name") if isinstance(entry, Mapping) else None
    if isinstance(entry, Mapping) and name is None:
        raise ValueError(f"an entry needs a name: {', '.join(KINDS)}")
    if isinstance(entry, Mapping) and name not in KINDS:
        raise ValueError(unknown_name("landscape", str(name), KINDS))
    return entry


LandscapeConfig = Annotated[
    Annotated[PathsConfig | SliceConfig | LineConfig | LanesConfig, Field(discriminator="name")],
    BeforeValidator(_named),
]


def check_kept(entries: Sequence[LandscapeConfig], keep: KeepConfig, *, is_function: bool) -> None:
    """Refuse pictures that a study has no weights for.

    Raises:
        ValueError: no states are kept, or too few for paths; or the task is a test function.
    """
    if not entries:
        return
    if is_function:
        raise ValueError(
            "landscapes are pictures of networks; the map of a test function is drawn anyhow"
        )
    if keep is None:
        raise ValueError(
            "landscapes are drawn from stored weights: set keep: every (paths need it) or final"
        )
    paths = any(entry.name == "paths" for entry in entries)
    if paths and keep != "every" and (keep == "final" or len(keep) < LEAST_STATES):
        raise ValueError(
            "landscapes: paths need weights along training: set keep: every, or list at least "
            f"{LEAST_STATES} steps (got keep: {keep})"
        )


def check_chosen(entries: Sequence[LandscapeConfig], lanes: pd.DataFrame) -> None:
    """Refuse names that no lane has, and choices that a picture cannot be made of.

    Args:
        entries: of the config.
        lanes: the lane table.

    Raises:
        ConfigError: with the entry's place.
    """
    reported = lanes[lanes["role"] == "report"]
    seeds = int(reported.groupby("cell")["init_seed"].size().min())
    for number, entry in enumerate(entries):
        what = f"landscapes.{number} ({entry.name})"
        counts = []
        for column in ("initializer", "optimizer"):
            known = [str(label) for label in reported[column].unique()]
            asked = getattr(entry, f"{column}s")
            for label in asked or ():
                if label not in known:
                    raise ConfigError(f"{what}: {unknown_name(column, label, known)}")
            if asked is not None and (not asked or len(set(asked)) != len(asked)):
                raise ConfigError(f"{what}: {column}s must name each once, got {asked}")
            counts.append(len(asked or known))
        cells = counts[0] * counts[1]
        if isinstance(entry, LineConfig) and seeds < 2:
            raise ConfigError(f"{what}: a line joins two seeds, and the study has seeds: {seeds}")
        if isinstance(entry, LanesConfig) and cells != 3 and not (cells == 1 and seeds >= 3):
            raise ConfigError(
                f"{what}: a plane needs three cells, or one cell with three seeds; initializers "
                f"and optimizers choose {cells} cells, and the study has seeds: {seeds}"
            )
        if isinstance(entry, SliceConfig) and entry.dims == 2 and cells > MOST_PANELS:
            raise ConfigError(
                f"{what}: {cells} maps are too many to compare, at most {MOST_PANELS}; choose "
                "initializers and optimizers, or dims: 1"
            )
