"""Parameter trees by path: `dense_0/kernel` names a leaf; patterns choose leaves."""

import fnmatch
from collections.abc import Sequence
from typing import Any, TypeVar

import jax

from initopt_jax.types import PyTree

T = TypeVar("T")


def path_name(path: Sequence[Any]) -> str:
    """A JAX key path as text: dict keys, indices and attribute names joined by `/`."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """Every leaf with its path, in the order of `jax.tree.leaves`.

    >>> named_leaves({"dense_0": {"bias": 1, "kernel": 2}})
    [('dense_0/bias', 1), ('dense_0/kernel', 2)]
    """
    return [(path_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def first_match(path: str, rules: Sequence[tuple[str, T]]) -> tuple[str, T] | None:
    """The first rule whose shell-style pattern (`*` also crosses `/`) matches the whole path.

    >>> first_match("dense_0/bias", [("*kernel", 1), ("*bias", 2)])
    ('*bias', 2)
    """
    for pattern, value in rules:
        if fnmatch.fnmatchcase(path, pattern):
            return pattern, value
    return None
