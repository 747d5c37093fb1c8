"""The fast form of a study: does all of it work, before hours are spent on it?"""

from collections.abc import Sequence

from initopt_jax.config.schema import Config, read_config
from initopt_jax.planning.fitting import idle

STEPS = 10
MOST_SEEDS = 3  # that a picture needs


def fast_form(config: Config) -> Config:
    """A config made fast: whatever could stop the study stops this first.

    Ten steps at most, evaluated at the start and the end; one seed, also for tuning (or as many as
    a picture of the loss joins); the first of every optimizer's swept values. All initializers,
    optimizers and data stay. It has a name, and so a folder, of its own.

    Args:
        config: the study.
    """
    steps = min(config.steps, STEPS)
    settings = [
        f"name={config.name}-fast",
        f"steps={steps}",
        f"eval_every={steps}",
        f"seeds={_seeds(config)}",
        f"tuning.seeds={min(1, config.tuning.seeds)}",
        f"eval_train={min(config.eval_train, 256)}",
    ]
    if isinstance(config.keep, list):
        settings.append("keep=every")  # the steps listed may lie behind the last one
    for number, optimizer in enumerate(config.optimizers):
        place = f"optimizers.{number}"
        # What happens every so many steps happens in each of them where these are too few.
        few = min(optimizer.steps or steps, STEPS)
        settings += [f"{place}.modifiers.{index}.every=1" for index in idle(optimizer, few)]
        if optimizer.steps or optimizer.eval_every:
            own = min(optimizer.steps or steps, STEPS)
            settings += [f"{place}.steps={own}", f"{place}.eval_every={own}"]
        settings += [
            f"{place}.{option}={value[0]}"
            for option, value in optimizer.options.items()
            if _is_swept(value)
        ]
    return read_config(config, settings)


def _seeds(config: Config) -> int:
    """One, unless networks of several seeds are held against each other."""
    if not any(entry.name in ("line", "lanes") for entry in config.landscapes):
        return 1
    seeds = config.seeds
    return min(seeds.all or (seeds.init or 1) * (seeds.data or 1), MOST_SEEDS)


def _is_swept(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 1
