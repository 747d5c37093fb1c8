"""The kinds of tries: what is drawn, how it is tried, and how much of the time it gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.fuzz import config_tries, configs, damage, data_files, kills, labels, prepared
from tests.fuzz.outcome import Outcome

Given = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of tries.

    Attributes:
        strategy: of inputs, plain values all.
        attempt: `(input, empty folder) -> Outcome`.
        share: of the time.
        seconds: after which a try is given up from outside.
        count: how many an input counts for.
        starts_jax: whether tries run in the process itself, which may not fork any more then.
        prepare: makes what all tries need, once, before the time begins.
    """

    strategy: st.SearchStrategy[dict[str, Any]]
    attempt: Callable[[Given, Path], Outcome]
    share: float
    seconds: float
    count: Callable[[Given], int] = lambda given: 1
    starts_jax: bool = True
    prepare: Callable[[], None] | None = None


KINDS = {
    "config": Kind(configs.tries(), config_tries.try_config, share=0.51, seconds=600),
    "damage": Kind(
        *(damage.tries(), damage.try_damage),
        share=0.12,
        seconds=400,
        prepare=prepared.make_all,
    ),
    "kill": Kind(  # in processes that it forks
        *(kills.tries(), kills.try_kills),
        share=0.27,
        seconds=900,
        count=kills.count,
        starts_jax=False,
        prepare=kills.prepare,
    ),
    "data": Kind(data_files.tries(), data_files.try_data, share=0.04, seconds=200),
    "label": Kind(labels.tries(), labels.try_labels, share=0.06, seconds=400),
}
