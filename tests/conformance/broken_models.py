"""Models that break a contract each, and two users' own that keep all."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from initopt_jax.types import Model

RANDOM = np.random.default_rng(0)
BUILT = []


def dense(outputs, after=lambda values, train, key: values, state=None, scale=1.0):
    """One layer, and what is done to its sums: a model whose faults are `after`."""

    def init(key, inputs):
        kernel = scale * jax.random.normal(key, (inputs.shape[1], outputs))
        return {"kernel": kernel, "bias": jnp.zeros(outputs)}, state or {}

    def apply(params, state, inputs, *, key=None, train=False):
        sums = inputs @ params["kernel"] + params["bias"][None]
        return after(sums, train, key), state

    return Model(init, apply)


def changed(model, init=None, apply=None):
    return Model(init or model.init, apply or model.apply)


# The first contracts


def takes_no_outputs(*, width=3):
    return dense(width)


def returns_its_class(*, outputs):
    return Counted


def has_no_weights(*, outputs):
    return changed(
        dense(outputs),
        init=lambda key, inputs: ({}, {}),
        apply=lambda params, state, inputs, **_: (inputs[:, :outputs], state),
    )


def counts_in_its_weights(*, outputs):
    def init(key, inputs):
        params, state = dense(outputs).init(key, inputs)
        return params | {"calls": jnp.int32(0)}, state

    return changed(dense(outputs), init=init)


def branches_on_values(*, outputs):
    return dense(outputs, lambda sums, *_: sums if sums.sum() > 0 else -sums)


def returns_one_thing(*, outputs):
    return changed(dense(outputs), init=lambda key, inputs: dense(outputs).init(key, inputs)[0])


def fails_inside(*, outputs):
    return dense(outputs, lambda *_: {}["missing"])


def returns_labels(*, outputs):
    return dense(outputs, lambda sums, *_: (sums > 0).astype("int32"))


def returns_one_number(*, outputs):
    return dense(1)


def returns_two_arrays(*, outputs):
    return dense(outputs, lambda sums, *_: (sums, sums))


def counts_in_another_dtype(*, outputs):
    def apply(params, state, inputs, *, key=None, train=False):
        outputs_, _ = dense(outputs).apply(params, {}, inputs)
        return outputs_, {"calls": state["calls"] + 1.0} if train else state

    return changed(dense(outputs, state={"calls": jnp.int32(0)}), apply=apply)


def keeps_a_key(*, outputs):
    return dense(outputs, state={"stream": jax.random.key(0)})


def widens_in_training(*, outputs):
    return dense(outputs, lambda sums, train, _: jnp.tile(sums, 2) if train else sums)


def drops_the_same_units(*, outputs):
    def drop(sums, train, _):
        if not train:
            return sums
        key = jax.random.key(sums[0, 0].astype("int32"))  # not the one that it was given
        kept = jax.random.bernoulli(key, 0.5, sums.shape)
        return jnp.where(kept, 2 * sums, 0)

    return dense(outputs, drop)


class Forgetful(nn.Module):
    """Dropout that nobody tells whether it trains."""

    outputs: int

    @nn.compact
    def __call__(self, inputs, train=False):
        return nn.Dropout(0.3, deterministic=True)(nn.Dense(self.outputs)(inputs))


class Upside(nn.Module):
    """Dropout at the wrong time."""

    outputs: int

    @nn.compact
    def __call__(self, inputs, train=False):
        return nn.Dropout(0.3, deterministic=train)(nn.Dense(self.outputs)(inputs))


# The others


def begins_without_end(*, outputs):
    return dense(outputs, lambda sums, *_: sums - jnp.log(jnp.zeros(())))


def ignores_its_key(*, outputs):
    model = dense(outputs)
    return changed(model, init=lambda key, inputs: model.init(jax.random.key(5), inputs))


def draws_with_numpy(*, outputs):
    model = dense(outputs)
    seed = lambda: int(RANDOM.integers(1 << 30))  # noqa: E731
    return changed(model, init=lambda key, inputs: model.init(jax.random.key(seed()), inputs))


def is_made_for_a_batch(*, outputs):
    def init(key, inputs):
        params, state = dense(outputs).init(key, inputs)
        return params | {"scale": jnp.ones(len(inputs))}, state

    def apply(params, state, inputs, **_):
        sums, state = dense(outputs).apply(params, state, inputs)
        return sums * params["scale"].mean(), state

    return Model(init, apply)


def knows_one_size(*, outputs):
    return dense(outputs, lambda sums, *_: sums + jnp.zeros((7, 1)) if len(sums) != 1 else sums)


def normalizes_by_its_batch(*, outputs):
    return dense(outputs, lambda sums, *_: sums - sums.mean(axis=0, keepdims=True))


def counts_evaluations(*, outputs):
    def apply(params, state, inputs, **_):
        return dense(outputs).apply(params, {}, inputs)[0], {"calls": state["calls"] + 1}

    return changed(dense(outputs, state={"calls": jnp.zeros(())}), apply=apply)


def evaluates_by_chance(*, outputs):
    return dense(outputs, lambda sums, train, _: sums if train else sums * RANDOM.uniform(1, 2))


def trains_by_chance(*, outputs):
    return dense(outputs, lambda sums, train, _: sums * RANDOM.uniform(1, 2) if train else sums)


def leaves_a_weight_out(*, outputs):
    def init(key, inputs):
        params, state = dense(outputs).init(key, inputs)
        return params | {"unused": jnp.ones((3, 2))}, state

    return changed(dense(outputs), init=init)


def has_no_slope(*, outputs):
    return dense(outputs, lambda sums, *_: jnp.sqrt(jnp.maximum(sums, 0.0)), scale=0.0)


@jax.custom_vjp
def turned(values):
    return values


turned.defvjp(lambda values: (values, None), lambda _, gradient: (-gradient,))


def climbs(*, outputs):
    return dense(outputs, lambda sums, *_: turned(sums))


def with_seen(outputs, over_lanes):
    """A state of chance that sees the other lanes, as nothing in JAX does by itself."""
    seen = jax.custom_batching.custom_vmap(lambda values: values)
    seen.def_vmap(lambda size, batched, values: (over_lanes(values), True))

    def apply(params, state, inputs, *, key=None, train=False):
        sums, _ = dense(outputs).apply(params, {}, inputs)
        if train:
            state = {"seen": seen(state["seen"] + jax.random.uniform(key))}
        return sums, state

    return changed(dense(outputs, state={"seen": jnp.zeros(())}), apply=apply)


def looks_at_its_neighbours(*, outputs):
    return with_seen(outputs, lambda values: values + 0 * values.mean())


def takes_another_lane(*, outputs):
    return with_seen(outputs, lambda values: values[::-1])


def hides_its_weights(*, outputs):
    def apply(params, state, inputs, **_):
        kernel = jnp.cumsum(params["kernel"], axis=0)
        return inputs @ kernel + params["bias"][None], state

    return changed(dense(outputs), apply=apply)


def has_a_kernel_without_axes(*, outputs):
    def init(key, inputs):
        params, state = dense(outputs).init(key, inputs)
        return params | {"gain": {"kernel": jnp.ones(())}}, state

    def apply(params, state, inputs, **_):
        sums, state = dense(outputs).apply(params, state, inputs)
        return jnp.where(sums > 0, sums, sums * params["gain"]["kernel"]), state  # no scale

    return Model(init, apply)


def talks(*, outputs):
    def say(sums, *_):
        jax.debug.print("{}", sums[0, 0])
        return sums

    return dense(outputs, say)


def leaves_the_device(*, outputs):
    def outside(sums, *_):
        kind = jax.ShapeDtypeStruct((), sums.dtype)
        shift = jax.pure_callback(lambda: np.float32(0), kind, vmap_method="sequential")
        return sums + shift

    return dense(outputs, outside)


def counts_its_builds(*, outputs):
    BUILT.append(1)
    times = len(BUILT)
    return dense(outputs, lambda sums, *_: sums * times)


def grows_with_its_builds(*, outputs):
    BUILT.append(1)
    model, count = dense(outputs), len(BUILT)

    def init(key, inputs):
        params, state = model.init(key, inputs)
        return params | {"scale": jnp.ones(count)}, state

    def apply(params, state, inputs, **_):
        sums, state = model.apply(params, state, inputs)
        return sums * params["scale"].mean(), state

    return Model(init, apply)


# Users' own that keep all contracts


class Counted(nn.Module):
    """Linen, with dropout, batch statistics and a collection of its own."""

    outputs: int
    width: int = 4

    @nn.compact
    def __call__(self, inputs, train=False):
        steps = self.variable("counts", "steps", lambda: jnp.zeros((), jnp.int32))
        if train and not self.is_initializing():
            steps.value = steps.value + 1
        values = nn.relu(nn.Dense(self.width)(inputs))
        values = nn.BatchNorm(use_running_average=not train)(values)
        values = nn.Dropout(0.2, deterministic=not train)(values)
        return nn.Dense(self.outputs)(values)


class Seen(nnx.Variable):
    """How many examples were seen."""


class Watching(nnx.Module):
    """NNX, with dropout, batch statistics and a variable of its own."""

    def __init__(self, features, outputs, *, rngs):
        self.hidden = nnx.Linear(features, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.out = nnx.Linear(4, outputs, rngs=rngs)
        self.seen = Seen(jnp.zeros(()))

    def __call__(self, inputs):
        self.seen.set_value(self.seen.get_value() + len(inputs))
        return self.out(self.drop(self.norm(nnx.relu(self.hidden(inputs)))))


def watching(*, outputs, features=64):
    return Watching(features, outputs, rngs=nnx.Rngs(0))


def starts_with_an_empty_branch(*, outputs):
    """A zero-initialized branch: no gradient reaches its inside at first."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            inside = nn.relu(nn.Dense(4)(inputs))
            zeros = nn.initializers.zeros_init()
            return nn.Dense(outputs)(inputs) + nn.Dense(outputs, kernel_init=zeros)(inside)

    return Net()
