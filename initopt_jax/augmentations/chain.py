"""From the names and options of a config to one function of a step's key and examples."""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from initopt_jax.augmentations.registry import REGISTRY
from initopt_jax.errors import ConfigError
from initopt_jax.keys import named_key
from initopt_jax.lookup.names import import_object, lookup
from initopt_jax.lookup.options import check_options
from initopt_jax.lookup.user_code import user_code
from initopt_jax.types import Array, option_names

Augment = Callable[[Array, Array], Array]
_TRIED = 3  # examples of the trial that looks at shapes


def make_augment(entries: Sequence[tuple[str, Mapping[str, Any]]], shape: Sequence[int]) -> Augment:
    """`augment(key, examples [B, *shape]) -> examples`: the entries one after the other.

    Each entry draws under a key of its own name (the second of a name under `name/1`, and so on),
    so that adding or removing others does not change what it draws.

    Args:
        entries: names, of the registry or `module:function`, with their options.
        shape: of one example; the trial is made with float32.

    Raises:
        ConfigError: an unknown name or option, a value out of range, or one that does not fit the
            shape; a function of the user's that changes shape or dtype.

    >>> augment = make_augment([("random_crop", {"padding": 2}), ("random_flip", {})], (8, 8, 3))
    >>> augment(jax.random.key(0), np.ones((5, 8, 8, 3), np.float32)).shape
    (5, 8, 8, 3)
    """
    seen: Counter[str] = Counter()
    steps: list[tuple[str, Augment]] = []
    for name, options in entries:
        steps.append((f"{name}/{seen[name]}" if seen[name] else name, _one(name, options, shape)))
        seen[name] += 1

    def augment(key: Array, examples: Array) -> Array:
        for name, step in steps:
            examples = step(named_key(key, name), examples)
        return examples

    return augment


def _one(name: str, options: Mapping[str, Any], shape: Sequence[int]) -> Augment:
    """One entry with its options filled in, tried on shapes alone."""
    what = f"augmentation {name!r}"
    if ":" in name:
        apply = import_object("augmentation", name)
    else:
        apply = lookup("augmentation", name, REGISTRY).apply
    given = list(option_names(apply))[:2]
    if len(given) < 2:
        raise ConfigError(f"{what} must take (key, examples), then its options")
    check_options(what, apply, options, given=given)
    step = functools.partial(apply, **options)
    examples = jax.ShapeDtypeStruct((_TRIED, *shape), np.float32)
    with user_code(what):
        made = jax.eval_shape(step, jax.random.key(0), examples)
    found = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(made)]
    if found != [(examples.shape, "float32")]:
        raise ConfigError(
            f"{what} must return examples of the shape and dtype that it was given, for "
            f"{_TRIED} examples {examples.shape} float32; got "
            + (", ".join(f"{size} {kind}" for size, kind in found) or "nothing")
        )
    return step
