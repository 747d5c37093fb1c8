"""`initopt probe`: from a config to the page, without training."""

import re

import numpy as np
import pytest
from typer.testing import CliRunner

from initopt_jax.cli import commands
from initopt_jax.errors import ConfigError
from initopt_jax.reports.charts.probing import Look, PropagationData, judge
from initopt_jax.studies import signal_propagation

KERNELS = ("a/kernel", "b/kernel", "c/kernel")


@pytest.fixture
def deep_config(small_config):
    return small_config | {
        "model": {"name": "mlp", "hidden": [16, 16, 16], "activation": "relu"},
        "initializers": ["zeros", "he_normal", {"name": "normal", "stddev": 0.001}],
    }


def test_the_page_of_three_initializers(deep_config, tmp_path):
    found, page = signal_propagation.probe(deep_config, out=tmp_path)
    assert page == tmp_path / "small-probe.html"
    courses = {look.label: judge(look, found) for look in found.looks}
    assert [(one.signal, one.gradient) for one in courses.values()] == [
        ("is zero", "is zero"),
        ("passes", "passes"),
        ("vanishes", "vanishes"),
    ]
    assert courses["zeros"].copied == 15 / 16
    assert courses["he_normal"].copied == 0
    he = found.looks[1]
    assert he.values["preactivation_variance"].shape == (2, 4)
    assert he.predicted is not None
    assert he.phase is not None
    np.testing.assert_allclose(he.phase.chi, 1, atol=0.2)  # 512 weights
    text = page.read_text(encoding="utf-8")
    for word in ("he_normal", "phase_diagram", "Theory and measurement", "With 1 of 3"):
        assert word in text
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert "http" not in outside


@pytest.mark.parametrize("model", ["rnn", "cnn"])
def test_other_networks(small_config, tmp_path, model):
    small = {"rnn": {"name": "rnn", "hidden": 4}, "cnn": {"name": "cnn", "channels": [2, 2]}}
    config = small_config | {"model": small[model], "initializers": ["glorot_uniform"], "seeds": 1}
    found, page = signal_propagation.probe(config, out=tmp_path / "own.html")
    assert page.name == "own.html"
    (look,) = found.looks
    assert look.predicted is None
    assert (look.phase is None) == (model == "rnn")
    assert np.isfinite(look.values["backward_norm"]).all()
    assert ("step_backward_norm" in look.values) == (model == "rnn")
    assert ('id="steps"' in page.read_text(encoding="utf-8")) == (model == "rnn")


def test_a_cost_function_is_refused():
    config = {
        "name": "plane",
        "task": {"name": "test_function", "function": "rosenbrock"},
        "initializers": ["uniform"],
        "optimizers": [{"name": "sgd", "learning_rate": 0.001}],
        "seeds": 1,
        "steps": 1,
    }
    with pytest.raises(ConfigError, match="is a test function, which has no layers"):
        signal_propagation.probe(config)


def test_the_command(deep_config, working_dir):
    import yaml

    file = working_dir / "deep.yaml"
    file.write_text(yaml.safe_dump(deep_config), encoding="utf-8")
    settings = ["--set", "initializers=[he_normal]", "--set", "seeds=1"]
    done = CliRunner().invoke(commands.app, ["probe", str(file), *settings])
    assert done.exit_code == 0, done.output
    assert "Signals pass" in done.output
    assert done.output.rstrip().endswith("runs/small-probe.html")
    assert (working_dir / "runs" / "small-probe.html").is_file()


def look(**changed):
    values = {
        "preactivation_variance": [1.0, 1.0, 1.0],
        "backward_norm": [1.0, 1.0, 1.0],
        "input_correlation": [0.1, 0.2, 0.3],
        "dead_units": [0.0, 0.0, 0.0],
        "saturated_share": [0.5, 0.5, 0.0],
    } | changed
    return Look(
        "one",
        {name: np.array([row, row]) for name, row in values.items()},
        *(np.zeros((2, 3)) for _ in range(3)),
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "Signals pass (× 1 over the depth) and gradients pass (× 1 over the depth)."),
        ({"preactivation_variance": [1, 1e-4, 1]}, "Signals vanish (× 0.01"),
        ({"preactivation_variance": [1, 400, 1]}, "Signals explode (× 20"),
        ({"preactivation_variance": [1, np.inf, 1]}, "Signals are not finite"),
        ({"preactivation_variance": [1, 0, 0]}, "Signals are exactly 0 in b and c"),
        ({"backward_norm": [0.05, 1, 1]}, "gradients vanish (× 0.05"),
        ({"backward_norm": [50, 1, 1]}, "gradients explode (× 50"),
        ({"backward_norm": [2e-8, 1e-8, 1]}, "gradients vanish (× 2e-08"),
        ({"step_backward_norm": [0, 1e-3, 0.1, 1]}, "4 steps to the second they vanish (× 0.001)"),
        ({"step_backward_norm": [1, 0, 0.1, 1]}, "4 steps to the second nothing is left"),
        ({"input_correlation": [0, 0.99, 1]}, "different inputs look alike in b (correlation 0.99"),
        ({"dead_units": [0.25, 0.5, 0]}, "50% of the units of b are dead"),
        ({"saturated_share": [0.4, 0.1, 0.9]}, "40% of a is saturated"),
    ],
)
def test_verdicts(changed, words):
    """The output layer `c` counts for nothing but exact zeros."""
    activation = "tanh" if "saturated_share" in changed else "relu"
    found = PropagationData("x", KERNELS, (0, 1), (1,), activation, (look(**changed),))
    assert words in judge(found.looks[0], found).sentence


def test_blocks_are_compared_with_blocks():
    """A branch that ends small, or in 0, is no vanishing signal where the stream passes it."""
    paths = tuple(f"{name}{block}" for block in range(4) for name in ("up", "down"))
    values = {"preactivation_variance": [1.0, 1e-6] * 4, "backward_norm": [1e-2, 1.0] * 4,
              "input_correlation": [0.1] * 8, "dead_units": [0.0] * 8,
              "saturated_share": [0.0] * 8}  # fmt: skip

    def verdict(residual, **changed):
        rows = {name: np.array([row]) for name, row in (values | changed).items()}
        one = Look("one", rows, *(np.zeros((1, 8)) for _ in range(3)))
        places = tuple(range(8))
        return judge(one, PropagationData("x", paths, places, places, None, (one,), residual))

    assert verdict(True).signal == verdict(True).gradient == "passes"
    zero = [1.0, 0.0] * 4
    assert verdict(True, preactivation_variance=zero).signal == "passes"
    assert verdict(False, preactivation_variance=zero).signal == "is zero"
    falling = [10.0 ** -(place // 2) for place in range(8)]
    assert verdict(True, preactivation_variance=falling).signal == "vanishes"
