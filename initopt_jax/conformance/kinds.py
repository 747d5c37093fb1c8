"""What kind of thing a name stands for: by the registries, or by how a function is written."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import optax

from initopt_jax.augmentations import REGISTRY as AUGMENTATIONS
from initopt_jax.data import REGISTRY as DATA
from initopt_jax.data import find_source
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.initializers import MODEL_LEVEL
from initopt_jax.initializers import REGISTRY as INITIALIZERS
from initopt_jax.lookup.names import import_object, jax_initializers, optax_optimizers
from initopt_jax.lookup.options import required_options
from initopt_jax.lookup.user_files import DATA_PREFIXES
from initopt_jax.models import REGISTRY as MODELS
from initopt_jax.models import is_model, is_module_class
from initopt_jax.modifiers import REGISTRY as MODIFIERS
from initopt_jax.probes import GIVEN
from initopt_jax.probes import REGISTRY as PROBES
from initopt_jax.schedules import REGISTRY as SCHEDULES
from initopt_jax.tasks import REGISTRY as TASKS
from initopt_jax.tasks.functions import REGISTRY as FUNCTIONS
from initopt_jax.transforms import REGISTRY as TRANSFORMS
from initopt_jax.types import Dataset, Task, option_names

KINDS = {
    "transform": "an optimizer",
    "model": "a model",
    "initializer": "an initializer",
    "schedule": "a schedule",
    "modifier": "a modifier",
    "augmentation": "an augmentation",
    "probe": "a probe",
    "task": "a task",
    "function": "a test function",
    "data": "a data set",
}
# A name in two of them is of the first: `linear`, `constant`.
REGISTRIES: Mapping[str, Mapping[str, Any]] = {
    "transform": TRANSFORMS,
    "model": MODELS,
    "initializer": {**INITIALIZERS, **MODEL_LEVEL},
    "schedule": SCHEDULES,
    "modifier": MODIFIERS,
    "augmentation": AUGMENTATIONS,
    "probe": PROBES,
    "task": TASKS,
    "function": FUNCTIONS,
    "data": DATA,
}
KEYS = {"key", "rng", "prng_key", "rng_key"}
EXAMPLES = {"examples", "batch", "inputs", "images", "pictures", "image", "x", "xs"}
COUNTS = {"count", "step", "t", "i", "iteration"}


def kind_of(name: str) -> str:
    """The kind of what a name stands for, one of `KINDS`.

    Raises:
        ConfigError: there is no such name, or its function could be of several kinds.

    >>> kind_of("adam"), kind_of("cosine"), kind_of("csv:table.csv")
    ('transform', 'schedule', 'data')
    """
    for kind, registry in REGISTRIES.items():
        if name in registry:
            return kind
    if name.startswith(DATA_PREFIXES):
        find_source(name)
        return "data"
    if ":" in name:
        found = import_object("name", name)
        kinds = _likely(found)
        if len(kinds) == 1:
            return kinds[0]
        flags = ", ".join(kinds or KINDS)
        signature = f"{name}{inspect.signature(found)}"
        raise ConfigError(f"the arguments of {signature} do not tell its kind; add --kind: {flags}")
    if name.startswith(("jax.", "optax.")):
        return "initializer" if name.startswith("jax.") else "transform"
    known = [one for registry in REGISTRIES.values() for one in registry]
    also = "; or jax.<name>, optax.<name>, or 'module:function' from your own file"
    others = [*jax_initializers(), *optax_optimizers()]
    message = unknown_name("name", name, known, elsewhere=others, last=True)
    raise ConfigError(f"{message.partition(' Allowed:')[0]} All are in `initopt list`{also}")


def _likely(found: Callable[..., Any]) -> list[str]:
    """The kinds that a user's function may be of; none where nothing tells."""
    if is_module_class(found):
        return ["model"]
    names = [*option_names(found), "", "", ""]
    required = set(required_options(found))
    first, second, third = names[:3]
    told = {
        "model": "outputs" in names,
        "modifier": first == "inner" or hasattr(found, "place"),
        "initializer": hasattr(found, "distribution")
        or hasattr(found, "base")
        or second == "shape"
        or (first in KEYS and third in ("dtype", "network"))
        or (first in KEYS and second == "params"),
        "augmentation": first in KEYS and second in EXAMPLES and third not in GIVEN,
        "probe": hasattr(found, "dims"),
        "schedule": first in COUNTS,
        "transform": bool({"learning_rate", "lr"} & set(names)),
        "function": (first, second) == ("x", "y"),
    }
    kinds = [kind for kind, is_one in told.items() if is_one]
    if not kinds and required and required <= set(GIVEN):
        kinds = ["initializer"] if first in KEYS else ["probe"]
    elif not kinds and first in KEYS:
        kinds = ["initializer"]
    return kinds[:1] or _by_result(found, required)


def _by_result(found: Callable[..., Any], required: set[str]) -> list[str]:
    """The kinds that fit what a function returns, where it can be called without arguments."""
    noted = inspect.signature(found).return_annotation
    if noted in (Task, Dataset):
        return ["task" if noted is Task else "data"]
    if required:
        return []
    try:
        made = found()
    except Exception:  # noqa: BLE001, what is wrong with it is said once its kind is known
        return []
    if isinstance(made, optax.GradientTransformation):
        return ["transform", "modifier"]
    if is_model(made):
        return ["model"]
    if isinstance(made, Task):
        return ["task"]
    return ["data"] if isinstance(made, Dataset | tuple) else []
