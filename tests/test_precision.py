"""The precision of a study: what is in which dtype, that it follows float32, that it is exact."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import linen as nn
from flax import nnx

import initopt_jax as iox
from initopt_jax.config.schema import read_config
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.engine.flops import tile_shapes
from initopt_jax.engine.model_size import ModelSize
from initopt_jax.engine.plan import tile_width
from initopt_jax.engine.segment import LaneInputs, LaneState, make_lane_step, make_segment
from initopt_jax.errors import ConfigError, StudyError
from initopt_jax.models import from_linen, from_nnx, with_precision
from initopt_jax.models.convolution import Geometry, choose_form, conv_general_dilated
from initopt_jax.models.normalization import Norm
from initopt_jax.planning.models import _holds
from initopt_jax.precision import in_precision, param_dtype
from initopt_jax.studies.preview import audit, initial_weights, plan, prepare
from initopt_jax.studies.verify import rerun, verify
from initopt_jax.types import Model

NHWC = ("NHWC", "HWIO", "NHWC")
MODELS = {
    "mlp": {"name": "mlp", "hidden": [16], "activation": "tanh"},
    "cnn": {"name": "cnn", "channels": [4], "norm": "batch", "convolution": "stock"},
    "transformer": {"name": "transformer", "width": 8, "heads": 2, "depth": 1},
}
STEPS = 6


def learning(model, **changes):
    """A few steps of two lanes on pictures of digits."""
    return {
        "name": "precise",
        "task": {"name": "classification", "dataset": "digits", "batch_size": 32},
        "model": MODELS[model],
        "initializers": ["he_normal"],
        "optimizers": [{"name": "momentum", "learning_rate": 0.05, "decay": 0.9}],
        "seeds": 2,
        "tuning": {"seeds": 0},
        "steps": STEPS,
        "eval_every": STEPS,
        "tile_width": 2,
        **changes,
    }


def exact(**changes):
    """Gradient descent on a convex cost."""
    return {
        "name": "exact",
        "task": {
            "name": "regression",
            "dataset": {"name": "teacher", "samples": 60, "features": 5},
        },
        "model": "linear",
        "initializers": [{"name": "normal", "stddev": 0.5}],
        "optimizers": [{"name": "gd", "learning_rate": 0.1}],
        "seeds": 1,
        "tuning": {"seeds": 0},
        "steps": 40,
        "eval_every": 20,
        **changes,
    }


def lowered(experiment):
    """The text of a study's first segment program, and the dtypes of the state that it gives."""
    program = experiment.programs[0]
    segment = make_segment(
        experiment.workload.model,
        experiment.workload.task,
        program.make_transform,
        full_batch=not program.batch_size,
    )
    lanes = tile_shapes(program, experiment.workload, program.width)
    loss = jax.ShapeDtypeStruct((program.width,), param_dtype())
    shape = (1, program.width, program.batch_size) if program.batch_size else (1,)
    batches = jax.ShapeDtypeStruct(shape, np.int32)
    traced = jax.jit(segment).trace(*lanes, loss, experiment.workload.dataset.train, batches)
    kinds = {leaf.dtype.name for leaf in jax.tree.leaves(traced.out_info)}
    return traced.lower().as_text(), kinds


def step_losses(experiment, steps=STEPS):
    """The losses of one lane's first steps, and its state after them."""
    program, train = experiment.programs[0], experiment.workload.dataset.train
    batch = program.batch_size or len(train.inputs)
    hyper = {
        name: experiment.lanes[f"optimizer.{name}"].to_numpy(np.float64)[0].astype(param_dtype())
        for name in program.hyperparameters
    }
    inputs = LaneInputs(hyper, jax.random.key(0))
    params = initial_weights(experiment)(0, 0)
    opt_state = program.make_transform(hyper).init(params)
    state = LaneState(params, experiment.workload.model_state, opt_state, np.int32(0), np.int32(-1))
    step = jax.jit(
        make_lane_step(experiment.workload.model, experiment.workload.task, program.make_transform)
    )
    losses = []
    for number in range(steps):
        rows = np.arange(number * batch, (number + 1) * batch) % len(train.inputs)
        state, loss = step(state, inputs, train.inputs[rows], train.targets[rows])
        losses.append(loss)
    return np.array(losses), state


class SeenError(Exception):
    """Carries the text of a program in place of compiling it."""


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        (MODELS["cnn"], "float32"),
        ({**MODELS["cnn"], "convolution": "patches"}, "bfloat16"),
        (MODELS["transformer"], "float64"),
    ],
)
def test_products_carry_the_highest_precision(model, precision, monkeypatch):
    """In the thread that trains, where the setting is made anew."""

    def look(self, *arguments, **options):
        raise SeenError(self.as_text())

    monkeypatch.setattr(jax.stages.Lowered, "compile", look)
    with in_precision(precision):
        experiment = prepare({**learning("mlp"), "model": model, "precision": precision})
        with pytest.raises(SeenError) as seen:
            rerun(experiment, np.arange(1), set_up_devices(1), 2)
    found = {"dot_general": [], "convolution": []}
    for line in str(seen.value).splitlines():
        for kind, lines in found.items():
            if f"stablehlo.{kind}" in line:
                lines.append(line)
    assert found["dot_general"]
    assert bool(found["convolution"]) == (model.get("convolution") == "stock")
    for line in found["dot_general"]:
        assert "precision = [HIGHEST, HIGHEST]" in line
    for line in found["convolution"]:
        assert line.count("#stablehlo<precision HIGHEST>") == 2


@pytest.mark.parametrize(
    ("value", "hint"), [("bf16", "; did you mean 'bfloat16'?"), ("double", ""), (32, "")]
)
def test_an_unknown_precision_is_refused_in_one_line(value, hint):
    allowed = "precision: input should be 'float32', 'bfloat16' or 'float64'"
    with pytest.raises(ConfigError) as refused:
        read_config(exact(precision=value))
    assert str(refused.value) == f"{allowed} (got {value!r}{hint})"


def test_a_dtype_of_the_model_must_not_contradict():
    model = {"name": "mlp", "hidden": [3], "dtype": "float32"}
    with pytest.raises(ConfigError, match="dtype is 'float32', and precision 'bfloat16'; leave"):
        plan(exact(model=model, precision="bfloat16"))
    with pytest.raises(ConfigError, match="dtype float64 needs a study of precision float64"):
        plan(exact(model={**model, "dtype": "float64"}))
    assert plan(exact(model={**model, "dtype": "float64"}, precision="float64")).lanes == 1


# bfloat16


@pytest.mark.parametrize("model", MODELS)
def test_bfloat16_is_in_the_model_and_nowhere_else(model):
    plain = prepare(learning(model))
    half = prepare(learning(model, precision="bfloat16"))
    text, kinds = lowered(half)
    assert kinds == {"float32", "int32"}
    products = re.findall(
        r"(?:dot_general|convolution).*: \(tensor<[0-9x]+x(\w+)>, tensor<[0-9x]+x(\w+)>\)", text
    )
    assert products
    assert set(products) == {("bf16", "bf16")}
    assert half.programs[0].width == plain.programs[0].width
    weights = [initial_weights(experiment)(0, 0) for experiment in (plain, half)]
    for first, second in zip(*map(jax.tree.leaves, weights), strict=True):
        assert first.dtype == second.dtype == np.float32
        assert first.tobytes() == second.tobytes()

    # A number is rounded to 8 bits, by 2^-9 of it at most. A loss is a mean of rounded logits and
    # of logits of weights that rounded gradients moved: of some ten roundings in a row with signs
    # of their own, three add up to the root mean square; twice that is allowed.
    (exact_losses, _), (losses, state) = step_losses(plain), step_losses(half)
    assert exact_losses.tobytes() != losses.tobytes()
    assert np.abs(losses / exact_losses - 1).max() < 6 * 2**-9
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {"float32", "int32"}


def test_a_bfloat16_study_is_stored_in_float32_and_made_again_to_the_bit(study_dir):
    study = iox.run(exact(model={"name": "mlp", "hidden": [4]}, precision="bfloat16"), study_dir)
    assert study.manifest["dtypes"] == {"wide": "float32", "compute": "bfloat16"}
    assert study.dataset["test_loss"].dtype == study.dataset["weight_norm"].dtype == np.float32
    assert verify(study_dir, devices=1).exit_code == 0
    with pytest.raises(StudyError, match="precision: 'bfloat16' -> 'float32'"):
        iox.run(exact(model={"name": "mlp", "hidden": [4]}), study_dir)


def test_statistics_of_a_batch_are_summed_in_float32():
    """In bfloat16, a sum of ones ends at 256: 256 + 1 is 256 again."""
    pictures = jnp.full((1, 32, 32, 4), 1.0, jnp.bfloat16)
    ours = Norm("batch")
    theirs = nn.BatchNorm(use_running_average=False, momentum=0.9)
    flat = pictures.reshape(-1, 1)
    for module, options, inputs in ((ours, {"train": True}, pictures), (theirs, {}, flat)):
        model = with_precision(
            Model(
                lambda key, x, m=module, o=options: (
                    (made := m.init(key, x, **o))["params"],
                    {"batch_stats": made["batch_stats"]},
                ),
                lambda params, state, x, m=module, o=options, **rest: m.apply(
                    {"params": params, **state}, x, mutable=["batch_stats"], **o
                ),
            ),
            wide=np.float32,
            compute=jnp.bfloat16,
        )
        params, state = model.init(jax.random.key(0), inputs)
        outputs, after = model.apply(params, state, inputs, train=True)
        assert outputs.dtype == np.float32
        assert after["batch_stats"]["mean"].dtype == np.float32
        started = np.asarray(state["batch_stats"]["mean"])
        np.testing.assert_allclose(after["batch_stats"]["mean"], 0.9 * started + 0.1, rtol=1e-6)


class Counted(nnx.Module):
    """A dense layer that counts its calls in a state of its own."""

    def __init__(self, rngs):
        self.dense = nnx.Linear(3, 2, rngs=rngs)
        self.calls = nnx.BatchStat(jnp.zeros((), jnp.float32))

    def __call__(self, inputs):
        self.calls[...] = self.calls[...] + 1
        return self.dense(inputs)


def own_model():
    def init(key, inputs):
        return {"table": jax.random.normal(key, (300, 2)), "number": jnp.arange(2)}, {}

    def apply(params, state, inputs, *, key=None, train=False):
        return params["table"][inputs], state

    return Model(init, apply)


def test_any_model_can_compute_in_bfloat16():
    def half(model):
        return with_precision(model, wide=np.float32, compute=jnp.bfloat16)

    inputs = jnp.linspace(-1, 1, 12).reshape(4, 3)
    for model in (from_linen(nn.Dense(2)), from_nnx(lambda rngs: Counted(rngs=rngs))):
        params, state = half(model).init(jax.random.key(0), inputs)
        outputs, after = half(model).apply(params, state, inputs, train=True)
        plain, _ = model.apply(params, state, inputs, train=True)
        assert outputs.dtype == np.float32
        assert 0 < np.abs(outputs - plain).max() < 2**-6
        assert jax.tree.map(lambda x: x.dtype, (params, state)) == jax.tree.map(
            lambda x: x.dtype, (params, after)
        )
        traced = str(jax.make_jaxpr(half(model).apply)(params, state, inputs))
        assert re.search(r"bf16\[4,2\] = dot_general", traced)
    numbers = jnp.array([[0], [299]])
    params, state = half(own_model()).init(jax.random.key(0), numbers)
    outputs, _ = half(own_model()).apply(params, state, numbers)
    assert params["number"].dtype == np.int32
    np.testing.assert_allclose(outputs[1, 0], params["table"][299], rtol=2**-8, atol=2**-8)


def test_tokens_are_not_rounded():
    assert _holds("bfloat16", np.array([[0.0, 256.0], [3.0, -256.0]]))
    assert _holds("bfloat16", np.array([[0.5, 1000.0]]))
    assert not _holds("bfloat16", np.array([[0.0, 257.0]]))
    assert _holds("bfloat16", np.array([[0, 257]]))  # integers are left alone


@pytest.mark.parametrize("form", ["patches", "rows", "blocks"])
def test_convolutions_of_ours_in_bfloat16(form):
    """Against the same in float32, of the same rounded numbers: only results are rounded."""
    generator = np.random.default_rng(0)
    shapes = {"patches": (1, 6), "rows": (6, 6), "blocks": (6, 6)}
    channels, features = shapes[form]
    strides = (2, 2) if form == "blocks" else (1, 1)
    geometry = Geometry(strides, ((1, 1), (1, 1)))
    pictures = jnp.asarray(generator.normal(size=(4, 8, 8, channels)), jnp.bfloat16)
    kernel = jnp.asarray(generator.normal(size=(3, 3, channels, features)), jnp.bfloat16)
    shape = (channels, 8, 8, 4)
    assert choose_form(shape, kernel.shape, geometry, jnp.bfloat16, "cpu") == form

    def both_ways(pictures, kernel, cotangent):
        """The outputs, and the cotangents of pictures and kernel."""
        made, back = jax.vjp(
            lambda x, k: conv_general_dilated(
                x, k, strides, "SAME", dimension_numbers=NHWC, convolution="patches"
            ),
            pictures,
            kernel,
        )
        return made, *back(cotangent)

    outputs = (4, 8 // strides[0], 8 // strides[1], features)
    given = pictures, kernel, jnp.asarray(generator.normal(size=outputs), jnp.bfloat16)
    compiled = jax.jit(both_ways)
    wide = [array.astype(jnp.float32) for array in given]
    parts = compiled(*given), compiled(*wide), compiled(*map(jnp.abs, wide))
    for half, whole, sizes in zip(*parts, strict=True):
        assert half.dtype == jnp.bfloat16
        # Each term of a sum is rounded at most five times, by 2^-9 of the sizes summed: products
        # over a row, two sums of three rows, the phases or blocks, the result.
        assert (np.abs(half.astype(np.float32) - whole) <= 5 * 2**-9 * sizes).all()


# float64


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The same study in float32, in float64, and in float32 again, in one process."""
    folder = tmp_path_factory.mktemp("three")
    precisions = {"first": "float32", "wide": "float64", "third": "float32"}
    return {
        name: iox.run(exact(precision=precision), folder / name)
        for name, precision in precisions.items()
    }


def test_a_float64_study_leaves_no_trace_in_the_process(three):
    first, third = three["first"].dataset, three["third"].dataset
    for name in first.data_vars:
        assert first[name].dtype == third[name].dtype
        assert first[name].to_numpy().tobytes() == third[name].to_numpy().tobytes()
    assert first["val_loss"].dtype == np.float32
    assert jnp.ones(()).dtype == np.float32
    with pytest.raises(ConfigError), in_precision("float64"):
        raise ConfigError("anything")
    assert jnp.ones(()).dtype == np.float32


def test_float64_results_are_stored_told_and_verified_as_such(three, full_reports):
    study = three["wide"]
    study.report()
    kinds = {study.dataset[name].dtype.name for name in study.dataset.data_vars}
    assert kinds == {"float64", "bool"}
    assert study.manifest["dtypes"] == {"wide": "float64", "compute": "float64"}
    assert study.manifest["settings"]["jax_enable_x64"] is True
    assert study.manifest["matmul_precision"] == "highest"
    value = study.dataset["test_loss"].to_numpy()[0]
    assert value != np.float32(value)
    assert study.summary()["test_loss_mean"].to_list() == [value]
    told = pd.read_csv(study.dir / "summary.csv", dtype=str)
    assert [float(text) for text in told["test_loss_mean"]] == [value]
    words = "float64; matrix products at highest precision"
    assert words in (study.dir / "report.html").read_text(encoding="utf-8")
    assert verify(study.dir).exit_code == 0


def test_float64_agrees_with_numpy_to_rounding(three):
    """Forty steps of gradient descent on a mean square, each number within some thousand ulps."""
    with in_precision("float64"):
        experiment = prepare(exact(precision="float64"))
        weights = initial_weights(experiment)(0, 0)["dense_0"]
    train, val = experiment.workload.dataset.train, experiment.workload.dataset.val
    kernel, bias = weights["kernel"].copy(), weights["bias"].copy()
    assert kernel.dtype == bias.dtype == train.inputs.dtype == train.targets.dtype == np.float64

    def errors(split):
        return split.inputs @ kernel + bias - split.targets

    losses, norms = [], []
    for step in range(41):
        if step % 20 == 0:
            losses.append(np.mean(errors(val) ** 2))
            norms.append([np.sqrt(np.sum(bias**2)), np.sqrt(np.sum(kernel**2))])
        error = errors(train)
        slope = 2 * error / error.size
        kernel -= 0.1 * train.inputs.T @ slope
        bias -= 0.1 * slope.sum(axis=0)
    found = three["wide"].dataset
    np.testing.assert_allclose(found["val_loss"][0], losses, rtol=1e-12)
    # The bias is 0 but for the rounding of centred data to float32: measured by the kernel's size.
    np.testing.assert_allclose(found["weight_norm"][0], norms, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_no_number_of_a_float64_step_is_narrower(model):
    optimizer = {
        "name": "adamw",
        "learning_rate": 0.1,
        "weight_decay": 0.1,
        "schedule": {"name": "cosine", "warmup": 0.1},
        "modifiers": [{"name": "clip_by_global_norm", "max_norm": 1.0}],
    }
    changes = {"precision": "float64", "optimizers": [optimizer]}
    if model == "cnn":
        changes["model"] = {**MODELS["cnn"], "dropout": 0.2}
    with in_precision("float64"):
        text, kinds = lowered(prepare(learning(model) | changes))
    assert not re.findall(r"x?b?f(?:16|32)>", text)
    assert kinds == {"float64", "int32"}


def test_points_of_a_cost_function_are_float64_too():
    config = {
        "name": "point",
        "task": {"name": "test_function", "function": "himmelblau"},
        "initializers": [{"name": "points", "points": [[0.1, 0.3]]}, "normal"],
        "optimizers": [{"name": "gd", "learning_rate": 0.01}],
        "precision": "float64",
    }
    with in_precision("float64"):
        experiment = prepare(config)
        first = initial_weights(experiment)
        placed, drawn = (first(cell, 0)["point"] for cell in (0, 1))
    assert placed.tolist() == [0.1, 0.3]
    assert placed.dtype == drawn.dtype == np.float64
    assert all(row.verdict == "ok" for row in audit(config))


def test_numbers_of_twice_the_bytes_halve_the_width():
    cost = ModelSize(parameters=100_000, activations=1_000, flops=0)
    assert tile_width("cpu", cost, 64, 8) == tile_width("cpu", cost, 64) / 2
    small = ModelSize(parameters=1_000, activations=10, flops=0)
    assert tile_width("gpu", small, 64, 8) == tile_width("gpu", small, 64)  # all fit anyway


class Narrow(nn.Module):
    """Weights that the module declares in another dtype than the study's."""

    outputs: int
    param_dtype: Any = jnp.bfloat16
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(self.outputs, param_dtype=self.param_dtype, dtype=self.dtype)(inputs)


def narrow(*, outputs):
    return Narrow(outputs)


def computes_narrow(*, outputs):
    return Narrow(outputs, param_dtype=jnp.float32, dtype=jnp.bfloat16)


def of_complex(*, outputs):
    return Narrow(outputs, param_dtype=jnp.complex64)


def of_integers(*, outputs):
    def apply(params, state, inputs, **_):
        return inputs @ params["dense"]["kernel"].astype(jnp.float32), state

    kernel = lambda key, inputs: jnp.ones((inputs.shape[1], outputs), jnp.int32)  # noqa: E731
    return Model(lambda key, inputs: ({"dense": {"kernel": kernel(key, inputs)}}, {}), apply)


def test_weights_of_another_dtype_are_held_in_that_of_the_study(small_config, study_dir):
    small_steps = [{"name": "sgd", "learning_rate": 1e-6}]  # too small for bfloat16 to add
    config = small_config | {"optimizers": small_steps, "target": None, "keep": "final", "seeds": 1}
    study = iox.run(config | {"model": f"{__name__}:narrow"}, study_dir, devices=1)
    known = study.manifest["dtypes"]
    paths = ["Dense_0/bias", "Dense_0/kernel"]
    assert known == {
        "wide": "float32",
        "compute": "float32",
        "declared": dict.fromkeys(paths, "bfloat16"),
    }
    assert dict(study.info.manifest)["precision"].startswith("float32, bfloat16 within the model;")
    assert {str(value.dtype) for value in study.kept.data_vars.values()} >= {"float32"}
    bias = study.params(0)["Dense_0"]["bias"]
    assert bias.dtype == np.float32
    assert 0 < np.abs(bias).max() < 1e-4
    model, inputs = (
        prepare(config | {"model": f"{__name__}:narrow"}).workload.model,
        np.ones((2, 64)),
    )
    params, state = model.init(jax.random.key(0), inputs.astype(np.float32))
    moved = jax.tree.map(lambda leaf: leaf + 1e-6, params)  # lost in the forward pass, as it says
    for weights in (params, moved):
        outputs, _ = model.apply(weights, state, inputs.astype(np.float32))
        assert outputs.dtype == jnp.float32


def test_a_model_that_computes_in_another_dtype_is_recorded_so(small_config):
    experiment = prepare(small_config | {"model": f"{__name__}:computes_narrow"})
    assert experiment.dtypes == {"computes_in": ["bfloat16"]}
    assert prepare(small_config).dtypes == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("of_complex", "Dense_0/bias is complex64; keep its real and its imaginary part as two"),
        ("of_integers", "dense/kernel is int32; keep what is not learnt out of the weights"),
    ],
)
def test_weights_that_are_no_real_numbers_are_refused_by_name(small_config, name, said):
    with pytest.raises(ConfigError, match=f"must be real floating numbers, and {said}"):
        prepare(small_config | {"model": f"{__name__}:{name}"})
