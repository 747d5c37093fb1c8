"""The model that a config names, in the precisions of a study, told whether it trains."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from initopt_jax import models
from initopt_jax.config.schema import Config
from initopt_jax.errors import ConfigError
from initopt_jax.lookup.options import call_with, check_options, takes
from initopt_jax.lookup.user_code import user_code
from initopt_jax.precision import PRECISIONS
from initopt_jax.types import Dataset, Model, option_names

MODEL = (
    "a function of outputs= and options that returns a Flax module, Linen or NNX, or a "
    "Model(init, apply)"
)
CHECKED = 4096  # examples that are looked at to tell whole numbers from others


def in_precisions(
    config: Config, plain: Model, dataset: Dataset
) -> tuple[Model, Model, dict[str, Any]]:
    """The model in the dtype of its weights, which initializers see, and the one that trains.

    Returns:
        The two, and the dtypes of the model's own besides those of the study: `declared` of weights
        by path, and those it `computes_in`; empty where there are none.
    """
    known = PRECISIONS[config.precision]
    plain = models.with_precision(plain, wide=known.wide, compute=known.wide)
    own: dict[str, Any] = {}
    if config.model and (":" in config.model.name or "dtype" in config.model.options):
        shape = dataset.train.inputs.shape[1:]
        forms = models.forms_of(config.model.name, plain, shape)
        inside = models.computes_in(plain, forms, shape) - {known.wide, known.compute}
        plain, declared = models.held_in(plain, forms, known.wide)
        own |= {"declared": declared} if declared else {}
        own |= {"computes_in": sorted(inside)} if inside else {}
    if known.compute == known.wide:
        return plain, plain, own
    model = plain if config.is_function else build_model(config, dataset, known.compute)[0]
    fits = _holds(known.compute, dataset.train.inputs)
    options = {"wide": known.wide, "compute": known.compute, "cast_inputs": fits}
    return plain, models.with_precision(model, **options), own


def _holds(dtype: str, inputs: np.ndarray) -> bool:
    """Whether a floating dtype can take inputs: no whole numbers beyond those it has, as tokens."""
    few = inputs[:CHECKED]
    if not np.issubdtype(inputs.dtype, np.floating) or (few != np.round(few)).any():
        return True
    return max(inputs.max(), -inputs.min()) <= 2 ** (jnp.finfo(dtype).nmant + 1)


def check_modes(
    config: Config, model: Model, known: models.Declared, forms: models.Forms, dataset: Dataset
) -> None:
    """Refuse a model of one's own that is not told, or does not heed, whether it trains."""
    if config.model is None or ":" not in config.model.name:
        return
    name, inputs = config.model.name, dataset.train.inputs
    models.require_modes(name, model, known, forms, inputs.shape[1:])
    with user_code(f"model {name!r}"):
        models.require_apart(name, model, inputs)


def build_model(
    config: Config, dataset: Dataset, dtype: str | None = None
) -> tuple[Model, models.Declared]:
    """The model of a config, with as many outputs as the data ask for, and what it declares.

    Args:
        config: names it.
        dataset: to learn.
        dtype: of its layers, by default that of the weights.
    """
    spec = config.model
    if spec is None:
        raise ConfigError("model is missing: what is to learn the task?")
    make = models.find_model(spec.name)
    check_options(f"model {spec.name!r}", make, spec.options, given=("outputs",))
    models.refuse_flags(f"model {spec.name!r}", make, spec.options)
    options = {"outputs": dataset.outputs, **spec.options}
    if config.precision != "float32" and ":" not in spec.name and takes(make, "dtype"):
        if (given := options.get("dtype", config.precision)) != config.precision:
            raise ConfigError(
                f"model.dtype is {given!r}, and precision {config.precision!r}; leave out the dtype"
            )
        options["dtype"] = dtype or PRECISIONS[config.precision].wide
    expects = MODEL if ":" in spec.name else ""
    made = call_with(f"model {spec.name!r}", make, options, expects)
    known = models.declared(made, {**option_names(make), **options})
    return models.as_model(made, f"model {spec.name!r}"), known
