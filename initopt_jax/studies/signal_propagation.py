"""`initopt probe`: what every initializer of a config does to signals, before any training."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax import models
from initopt_jax.config.schema import Source, read_config
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.errors import ConfigError
from initopt_jax.initializers import Network
from initopt_jax.initializers.activations import ACTIVATIONS
from initopt_jax.planning.resolve import Experiment
from initopt_jax.precision import in_precision
from initopt_jax.probes.probe import Batch
from initopt_jax.probes.signals import jacobian_spectrum, signals, step_signals
from initopt_jax.probes.signals.steps import recurrent_kernels
from initopt_jax.probes.signals.theory import Phase, Predicted, Sigmas, phase, predict, sigmas
from initopt_jax.reports.charts.probing import Look, PropagationData
from initopt_jax.reports.page.probe_page import render
from initopt_jax.store.files import clear_errors, write_whole
from initopt_jax.studies.preview import initial_weights, prepare
from initopt_jax.tree import named_leaves
from initopt_jax.types import PyTree

MOST_SEEDS = 5
EXAMPLES = 128  # of the training split
SHIFTED, COPIED = 0.1, 0.5  # share of squares that the mean makes up; of copied units
SAME = 1e-6  # relative: weights nearer than this are equal


def probe(
    source: Source,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    *,
    trust: bool = False,
) -> tuple[PropagationData, Path]:
    """Look into the untrained networks of a config, and write the page.

    Args:
        source: the config.
        overrides: `key=value` changes to it.
        out: a file that ends in .html, or a folder for one; by default `runs`.
        trust: whether functions of any installed package may be named.

    Returns:
        What was found, and where the page is.

    Raises:
        ConfigError: the config is wrong, or its task is a test function.
        StudyError: the page cannot be written.
    """
    set_up_devices()
    config = read_config(source, overrides)
    if config.is_function:
        raise ConfigError(
            f"initopt probe looks into networks, and the task of {config.name!r} is a test "
            "function, which has no layers"
        )
    with in_precision(config.precision):
        found = look(prepare(config, trust=trust))
    name = f"{config.name}-probe.html"
    file = Path("runs") / name if out is None else out if out.suffix == ".html" else out / name
    with clear_errors(file):
        write_whole(file, render(found))
    return found, file


def look(experiment: Experiment) -> PropagationData:
    """Signals, gradients and sigmas of every initializer, a few seeds each."""
    network, config = experiment.workload.network, experiment.config
    seeds = _seeds(experiment)
    batch = _batch(network)
    measures = [_measure(network)] * len(seeds)
    if experiment.workload.states.random:
        measures = [_measure(experiment.workload.network_of(seed)) for seed in seeds]
    initial = initial_weights(experiment)
    kernels = tuple(kernel.path for kernel in network.anatomy.kernels)
    if not kernels:
        raise ConfigError(
            "initopt probe found no weights that the model multiplies its inputs with"
        )
    hidden, inner = _places(network)
    activation = _activation(experiment)
    looks = []
    for index, cell in enumerate(experiment.initializer_cells):
        lanes = [initial(index, seed) for seed in seeds]
        measured = [measure(params, batch) for measure, params in zip(measures, lanes, strict=True)]
        values = {
            name: np.stack([np.asarray(one[name], np.float64) for one in measured])
            for name in measured[0]
        }
        own = [sigmas(params, network) for params in lanes]
        whole = Sigmas(
            np.stack([one.weights for one in own]), np.stack([one.biases for one in own])
        )
        copied = np.stack([_copied(params, network) for params in lanes])
        random = _random(lanes[0], copied, network, inner)
        known = activation if random and not recurrent_kernels(network) else None
        predicted = _foretold(known, whole, values, network, lanes[0])
        placed = _phase(known, whole, inner)
        looks.append(
            Look(cell.label, values, whole.weights, whole.biases, copied, predicted, placed)
        )
    return PropagationData(
        name=config.name,
        kernels=kernels,
        hidden=hidden,
        inner=inner,
        activation=activation,
        looks=tuple(looks),
        residual=bool(network.anatomy.branches),
        facts=_facts(experiment, len(seeds), len(batch.inputs)),
    )


def _seeds(experiment: Experiment) -> list[int]:
    seeds = experiment.config.seeds
    count = seeds.all or seeds.init or 1
    return [seeds.first + place for place in range(min(count, MOST_SEEDS))]


def _batch(network: Network) -> Batch:
    """The same examples for all, spread over the training split."""
    total = len(network.inputs)
    rows = np.random.default_rng(0).permutation(total)[:EXAMPLES]
    inputs, targets = (np.asarray(part)[rows] for part in (network.inputs, network.targets))
    return Batch(jnp.asarray(inputs), jnp.asarray(targets))


def _measure(network: Network) -> Callable[[PyTree, Batch], Mapping[str, Any]]:
    recurrent = bool(recurrent_kernels(network))

    def measured(params: PyTree, batch: Batch) -> dict[str, Any]:
        found = signals(params, batch, network) | jacobian_spectrum(params, batch, network)
        return found | (step_signals(params, batch, network) if recurrent else {})

    return jax.jit(measured)


def _places(network: Network) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Places of the kernels that make no outputs, and of those that do not see the inputs either.

    Where a network is too small to have such, those that come nearest.
    """
    anatomy = network.anatomy
    paths = [kernel.path for kernel in anatomy.kernels]
    every = tuple(range(len(paths)))
    hidden = tuple(place for place in every if paths[place] not in anatomy.outputs)
    inner = tuple(place for place in hidden if paths[place] not in anatomy.inputs)
    return hidden, inner or hidden or every


def _activation(experiment: Experiment) -> str | None:
    """The activation that the config names, or the model's own default, if theory knows it."""
    spec = experiment.config.model
    if spec is None:
        return None
    named = spec.options.get("activation")
    if named is None and ":" not in spec.name:
        made = inspect.signature(models.find_model(spec.name)).parameters.get("activation")
        named = None if made is None else made.default
    return named if isinstance(named, str) and named in ACTIVATIONS else None


def _copied(params: PyTree, network: Network) -> np.ndarray:
    """Per kernel, the share of units whose weights and bias are those of an earlier unit."""
    leaves = {path: np.asarray(leaf, np.float64) for path, leaf in named_leaves(params)}
    shares = []
    for kernel in network.anatomy.kernels:
        parts = kernel.layout.take_apart(leaves[kernel.path])
        name = network.anatomy.bias_of(kernel.path)
        bias = np.zeros(0) if name is None else leaves[name].ravel()
        copies = total = 0
        for number, part in enumerate(parts):
            units = part.reshape(-1, part.shape[-1]).T
            own = bias[number * len(units) :][: len(units)]
            if len(own) == len(units):
                units = np.concatenate([units, own[:, None]], axis=1)
            largest = np.abs(units).max() if units.size else 0.0
            rounded = np.round(units / (largest or 1.0) / SAME)
            copies += len(units) - len(np.unique(rounded, axis=0))
            total += len(units)
        shares.append(copies / max(total, 1))
    return np.array(shares)


def _random(params: PyTree, copied: np.ndarray, network: Network, inner: Sequence[int]) -> bool:
    """Whether theory, which is of independent weights around 0, may speak of these."""
    leaves = {path: np.asarray(leaf, np.float64) for path, leaf in named_leaves(params)}
    own = [leaves[network.anatomy.kernels[place].path] for place in inner]
    square = sum(float(np.sum(leaf**2)) for leaf in own)
    shifted = sum(leaf.size * float(np.mean(leaf)) ** 2 for leaf in own)
    return shifted <= SHIFTED * square and float(np.mean(copied[:, list(inner)])) <= COPIED


def _foretold(
    activation: str | None,
    own: Sigmas,
    values: Mapping[str, np.ndarray],
    network: Network,
    params: PyTree,
) -> Predicted | None:
    """What theory says of a plain network of dense layers; None for others."""
    anatomy = network.anatomy
    biases = {anatomy.bias_of(kernel.path) for kernel in anatomy.kernels}
    known = {kernel.path for kernel in anatomy.kernels} | biases
    plain = not anatomy.branches and all(
        kernel.layout.kind == "dense" and not kernel.in_scan for kernel in anatomy.kernels
    )
    if activation is None or not plain or not known >= set(anatomy.layouts):
        return None
    leaves = dict(named_leaves(params))
    widths = [leaves[one.path].shape[one.layout.outputs[-1]] for one in anatomy.kernels]
    with np.errstate(invalid="ignore"):
        mean = Sigmas(*(np.sqrt(np.mean(part**2, axis=0)) for part in own))
        size = float(np.mean(values["preactivation_variance"][:, 0]))
        correlated = float(np.mean(values["input_correlation"][:, 0]))
    with np.errstate(over="ignore", invalid="ignore"):
        return predict(activation, mean, size, correlated, np.array(widths, np.float64))


def _phase(activation: str | None, own: Sigmas, inner: Sequence[int]) -> Phase | None:
    if activation is None:
        return None
    weight, bias = (float(np.sqrt(np.mean(part[:, list(inner)] ** 2))) for part in own)
    with np.errstate(over="ignore", invalid="ignore"):  # weights of 1e30 have no phase to speak of
        placed = phase(activation, weight, bias) if np.isfinite(weight + bias) else None
    return placed if placed is not None and np.isfinite(placed.chi) else None


def _facts(experiment: Experiment, seeds: int, examples: int) -> tuple[tuple[str, str], ...]:
    config = experiment.config
    spec = config.model
    options = ", ".join(f"{name} {value}" for name, value in spec.options.items()) if spec else ""
    model = f"{spec.name} ({options})" if spec and options else (spec.name if spec else "")
    return (
        ("task", f"{config.task.name} on {experiment.workload.dataset.name}"),
        ("model", f"{model}, {experiment.workload.parameters:,} parameters"),
        ("examples", f"{examples} of the training split"),
        ("seeds", f"{config.seeds.first} to {config.seeds.first + seeds - 1}"),
        ("data", experiment.workload.dataset.fingerprint),
        ("jax", jax.__version__),
    )
