"""Parameter trees by path: `dense_0/kernel` names a leaf; patterns choose leaves."""

import fnmatch
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.errors import nearest
from initopt_jax.types import PyTree

T = TypeVar("T")
WRAPPERS = ("value", "raw_value")  # what a variable of Flax holds its array by


def path_name(path: Sequence[Any]) -> str:
    """A JAX key path as text: dict keys, indices and attribute names joined by `/`."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """Every leaf with its path, in the order of `jax.tree.leaves`.

    >>> named_leaves({"dense_0": {"bias": 1, "kernel": 2}})
    [('dense_0/bias', 1), ('dense_0/kernel', 2)]
    """
    return [(path_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def require_real(what: str, tree: Any) -> None:
    """Refuses a tree of which a leaf is no array of real floating numbers.

    Args:
        what: the leaves are, for the error.
        tree: of arrays or their shapes.

    Raises:
        ValueError: naming the first such leaf and its dtype.

    >>> import jax.numpy as jnp
    >>> require_real("weights", {"scale": jnp.ones(2), "steps": jnp.ones(2, int)})
    ... # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: weights must be real floating numbers, and steps is int...; keep what is not ...
    """
    for path, leaf in named_leaves(tree):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.result_type(leaf)
        if jnp.issubdtype(dtype, np.floating):
            continue
        advice = (
            "keep its real and its imaginary part as two leaves, joined by jax.lax.complex"
            if jnp.issubdtype(dtype, np.complexfloating)
            else "keep what is not learnt out of the weights, in a collection of its own"
        )
        raise ValueError(
            f"{what} must be real floating numbers, and {path or 'the leaf'} is {dtype}; {advice}"
        )


def last_name(path: str) -> str:
    """What a leaf is called: the last word of its path that is no wrapper's and no number.

    >>> last_name("norm/scale/value"), last_name("bias/0"), last_name("up/log_scale")
    ('scale', 'bias', 'log_scale')
    """
    words = [word for word in path.split("/") if word not in WRAPPERS and not word.isdecimal()]
    return words[-1] if words else ""


def matches(path: str, pattern: str) -> bool:
    """Whether a shell-style pattern (`*` also crosses `/`) matches a path, with wrappers or not.

    >>> matches("norm/scale/value", "*scale"), matches("up/log_scale", "*/scale")
    (True, False)
    """
    head, _, last = path.rpartition("/")
    bare = fnmatch.fnmatchcase(head, pattern) if last in WRAPPERS else False
    return bare or fnmatch.fnmatchcase(path, pattern)


def first_match(path: str, rules: Sequence[tuple[str, T]]) -> tuple[str, T] | None:
    """The first rule whose shell-style pattern (`*` also crosses `/`) matches the whole path.

    >>> first_match("dense_0/bias", [("*kernel", 1), ("*bias", 2)])
    ('*bias', 2)
    """
    for pattern, value in rules:
        if matches(path, pattern):
            return pattern, value
    return None


def chosen_leaves(what: str, patterns: str | Sequence[str], tree: PyTree) -> PyTree:
    """The tree with True at the leaves that a shell-style pattern matches, and False elsewhere.

    Args:
        what: the option that holds the patterns, for the error.
        patterns: one, or several.
        tree: of which only the paths matter.

    Raises:
        ValueError: if a pattern matches no leaf, which a misspelt path would not.

    >>> chosen_leaves("only", "*bias", {"bias": 1, "kernel": 2})
    {'bias': True, 'kernel': False}
    """
    several = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    paths = [path for path, _ in named_leaves(tree)]
    for pattern in several:
        if not any(matches(path, pattern) for path in paths):
            close = nearest(pattern, paths)
            hint = f"; did you mean {close!r}?" if close else ""
            raise ValueError(f"{what}: {pattern!r} matches no leaf{hint} Leaves: {_few(paths)}")
    chosen = [any(matches(path, one) for one in several) for path in paths]
    return jax.tree.unflatten(jax.tree.structure(tree), chosen)


def _few(paths: Sequence[str]) -> str:
    return ", ".join(paths[:8]) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")
