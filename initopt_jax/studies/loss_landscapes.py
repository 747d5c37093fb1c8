"""Pictures of the loss of a study's networks, computed from their stored weights after training.

Nothing here changes a lane: weights are read, losses measured, arrays returned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from initopt_jax.config.landscapes import (
    LandscapeConfig,
    LanesConfig,
    LineConfig,
    PathsConfig,
    SliceConfig,
)
from initopt_jax.data import first_examples
from initopt_jax.engine.keep import kept_name
from initopt_jax.engine.model_size import model_size
from initopt_jax.errors import ConfigError
from initopt_jax.keys import named_key
from initopt_jax.planning.resolve import Experiment
from initopt_jax.precision import MATMUL_PRECISION, param_dtype
from initopt_jax.probes import slices
from initopt_jax.probes.slices.record import NetLandscape
from initopt_jax.tree import named_leaves
from initopt_jax.types import PyTree

CHUNK_BYTES = 2**27  # of activations of the networks that are evaluated side by side
MOST_AT_ONCE = 16
BARRIER_POINTS = 13  # of a line whose height alone is asked for
MARGIN = 0.12  # of a map around what is drawn on it, as a share of its size
LANES_MARGIN = 0.35
Arrays = dict[str, np.ndarray]


class WeightSource(Protocol):
    """Stored weights of lanes."""

    def steps(self, lane: int) -> list[int]:
        """The steps at which a lane's weights were stored, in order."""
        ...

    def params(self, lane: int, place: int) -> PyTree:
        """The weights of a lane at one of them, by its place in that list; -1 is the last."""
        ...


class StoredWeights:
    """The weights that a study stored.

    Args:
        experiment: of the study.
        kept: its stored states, dims `lane`, `kept` and axes; see `Study.kept`.
        step: [L, E], the step of every evaluation, NaN behind a lane's last one.
    """

    def __init__(self, experiment: Experiment, kept: xr.Dataset, step: np.ndarray):
        self._experiment, self._kept, self._step = experiment, kept, step
        self._read: tuple[int, list[np.ndarray]] | None = None

    def steps(self, lane: int) -> list[int]:
        """The steps at which a lane's weights were stored, in order."""
        known = self._step[lane][np.isfinite(self._step[lane])].astype(int).tolist()
        at = self._experiment.keep.at
        if at == "final":
            return known[-1:]
        return known if at == "every" else [step for step in at or () if step in known]

    def params(self, lane: int, place: int) -> PyTree:
        """The weights of a lane at one of them, by its place in that list; -1 is the last."""
        if self._read is None or self._read[0] != lane:  # a chunk on disk holds whole lanes
            paths = [path for path, _ in named_leaves(self._experiment.workload.params)]
            rows = [self._kept[kept_name(path)].isel(lane=lane).values for path in paths]
            self._read = lane, rows
        at = range(len(self.steps(lane)))[place]
        if isinstance(self._experiment.keep.at, tuple):
            at = self._experiment.keep.at.index(self.steps(lane)[place])
        structure = jax.tree.structure(self._experiment.workload.params)
        return jax.tree.unflatten(structure, [leaf[at] for leaf in self._read[1]])


@dataclass(frozen=True)
class ChosenCell:
    """A tuned cell: its names and its lanes of the reported seeds, in order."""

    initializer: str
    optimizer: str
    lanes: tuple[int, ...]


def check_landscapes(experiment: Experiment) -> None:
    """Refuse, before anything is trained, what could not be drawn afterwards.

    Raises:
        ConfigError: the model's state is random; or a line asks for matched units, and those of
            this model cannot be permuted.
    """
    if experiment.config.landscapes and experiment.workload.states.random:
        raise ConfigError(
            "landscapes: the model's state is drawn from the seed of each network, so that two "
            "networks have no test function in common; remove them"
        )
    for number, entry in enumerate(experiment.config.landscapes):
        if not isinstance(entry, LineConfig) or not entry.match:
            continue
        zeros = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype), experiment.workload.params
        )
        try:
            slices.hidden_layers(experiment.workload.network.plain, zeros, _few(experiment))
        except ValueError as error:
            raise ConfigError(f"landscapes.{number} (line): {error}; or set match: false") from None


def make_landscapes(
    experiment: Experiment, best: pd.DataFrame, kept: WeightSource
) -> list[NetLandscape]:
    """All pictures that a config asks for, in order.

    Args:
        experiment: with its config.
        best: the tuned cell of each initializer and optimizer; see `stats.best_cells`.
        kept: the stored weights.
    """
    made: list[NetLandscape] = []
    measures: dict[int, _Measure] = {}  # each compiles once, whatever is drawn with it
    with jax.default_matmul_precision(MATMUL_PRECISION):
        for entry in experiment.config.landscapes:
            cells = chosen_cells(entry, best, experiment.lanes)
            if entry.examples not in measures:
                measures[entry.examples] = _Measure(experiment, entry.examples)
            measure = measures[entry.examples]
            arrays = _MAKERS[type(entry)](entry, cells, kept, measure)
            names = {
                "initializer": np.array([cell.initializer for cell in cells]),
                "optimizer": np.array([cell.optimizer for cell in cells]),
                "lane": np.array([cell.lanes[0] for cell in cells], np.int64),
                "examples": np.array(measure.examples),
            }
            made.append(NetLandscape(entry.name, names | arrays))
    return made


def chosen_cells(
    entry: LandscapeConfig, best: pd.DataFrame, lanes: pd.DataFrame
) -> list[ChosenCell]:
    """The tuned cells that an entry asks for, in the order of the config."""
    reported = lanes[lanes["role"] == "report"]
    cells = []
    for row in best.itertuples():
        names = str(row.initializer), str(row.optimizer)
        asked = entry.initializers, entry.optimizers
        if all(some is None or name in some for name, some in zip(names, asked, strict=True)):
            own = reported.index[reported["cell"] == row.cell]
            cells.append(ChosenCell(*names, tuple(int(lane) for lane in own)))
    return cells


class _Measure:
    """The loss of training, on some training examples, jitted once per form of use."""

    def __init__(self, experiment: Experiment, most: int):
        network, train = (
            experiment.workload.network,
            first_examples(experiment.workload.dataset, most),
        )
        self.examples = len(train.inputs)
        self.batch = tuple(map(jnp.asarray, train))
        few = jax.ShapeDtypeStruct((2, *train.inputs.shape[1:]), param_dtype())
        model = model_size(
            experiment.workload.model,
            experiment.workload.params,
            experiment.workload.model_state,
            few,
        )
        size = np.dtype(param_dtype()).itemsize * self.examples * max(model.activations, 1)
        self.chunk = int(np.clip(CHUNK_BYTES // size, 1, MOST_AT_ONCE))
        self.plain, self.few = network.plain, _few(experiment)

        def loss(params: PyTree, batch: Any) -> jax.Array:
            return network.mean_loss(params, *batch)

        chunk = self.chunk
        self._alone = jax.jit(loss)
        self._line = jax.jit(lambda *given: slices.slice_1d(loss, *given, chunk=chunk))
        self._map = jax.jit(lambda *given: slices.slice_2d(loss, *given, chunk=chunk))
        self._between = jax.jit(
            lambda a, b, batch, points: slices.interpolate(loss, a, b, batch, points, chunk=chunk),
            static_argnums=3,
        )
        layouts = network.anatomy.layouts
        self.plane = jax.jit(slices.plane_through)
        self.direction = jax.jit(lambda params, key: slices.filter_direction(params, key, layouts))

    def loss_at(self, params: PyTree) -> float:
        """The loss of one network."""
        return float(self._alone(params, self.batch))

    def line(self, params: PyTree, way: PyTree, steps: np.ndarray) -> np.ndarray:
        """[S]; see `slice_1d`."""
        return np.asarray(self._line(params, self.batch, way, _wide(steps)))

    def map(
        self, params: PyTree, ways: tuple[PyTree, PyTree], x: np.ndarray, y: np.ndarray
    ) -> np.ndarray:
        """[Y, X]; see `slice_2d`."""
        return np.asarray(self._map(params, self.batch, ways, _wide(x), _wide(y)))

    def between(self, first: PyTree, second: PyTree, points: int) -> np.ndarray:
        """[points]; see `interpolate`."""
        return np.asarray(self._between(first, second, self.batch, points))


def _wide(steps: np.ndarray) -> jax.Array:
    return jnp.asarray(steps, param_dtype())


def _few(experiment: Experiment) -> np.ndarray:
    """A few examples, to read a network by."""
    return np.asarray(experiment.workload.dataset.train.inputs[:4])


def _paths(
    entry: PathsConfig, cells: Sequence[ChosenCell], kept: WeightSource, measure: _Measure
) -> Arrays:
    """`coordinates` [C, T, 2], `step`, `path_loss` and `off` [C, T], `explained` [2], a map.

    `path_loss` is the loss of the networks themselves, which stand at a distance `off` from the
    plane; NaN behind the end of shorter paths. `barrier` [C] is that of the straight line from the
    end with the lowest loss to each other end, through the space of weights, not over the map.
    """
    lanes = [cell.lanes[0] for cell in cells]
    steps = [kept.steps(lane) for lane in lanes]
    longest = max(map(len, steps))
    step, loss, off = (np.full((len(lanes), longest), np.nan) for _ in range(3))
    places = np.full((len(lanes), longest, 2), np.nan)
    paths = []
    for row, lane in enumerate(lanes):
        states = [kept.params(lane, place) for place in range(len(steps[row]))]
        step[row, : len(states)] = steps[row]
        loss[row, : len(states)] = [measure.loss_at(state) for state in states]
        paths.append(jax.tree.map(lambda *leaves: np.stack(leaves), *states))
    ends = [jax.tree.map(lambda leaf: leaf[-1], path) for path in paths]
    heights = _barriers(ends, [measure.loss_at(end) for end in ends], measure)
    found: Arrays = {"step": step, "path_loss": loss, "coordinates": places, "off": off}
    found["barrier"] = heights
    try:
        plane = slices.path_plane(paths)
    except ValueError:  # all diverged at once
        return found | _no_map(entry.points) | {"explained": np.full(2, np.nan)}
    for row, (place, far) in enumerate(zip(plane.coordinates, plane.off, strict=True)):
        places[row, : len(place)], off[row, : len(far)] = place, far
    x, y = _axes(places.reshape(-1, 2), entry.points, MARGIN)
    grid = measure.map(plane.origin, (plane.first, plane.second), x, y)
    return found | {"explained": plane.explained, "x": x, "y": y, "loss": grid}


def _barriers(ends: Sequence[PyTree], losses: Sequence[float], measure: _Measure) -> np.ndarray:
    """[C], the barrier between the end with the lowest loss and each of them; 0 for itself."""
    if not np.isfinite(losses).any():
        return np.full(len(ends), np.nan)
    best = ends[int(np.nanargmin(losses))]
    lines = np.stack([measure.between(best, end, BARRIER_POINTS) for end in ends])
    return np.asarray(slices.barrier(jnp.asarray(lines)))


def _slice(
    entry: SliceConfig, cells: Sequence[ChosenCell], kept: WeightSource, measure: _Measure
) -> Arrays:
    """`x` [S] and `loss` [C, S], or of two directions `x`, `y` and `loss` [C, Y, X]."""
    key = named_key(jax.random.key(entry.seed), "landscapes")
    keys = jax.random.split(key)
    steps = np.linspace(-entry.reach, entry.reach, entry.points)
    losses = []
    for cell in cells:
        params = kept.params(cell.lanes[0], -1)
        ways = [measure.direction(params, one) for one in keys]
        if entry.dims == 1:
            losses.append(measure.line(params, ways[0], steps))
        else:
            losses.append(measure.map(params, (ways[0], ways[1]), steps, steps))
    also = {"y": steps} if entry.dims == 2 else {}
    return {"x": steps, "loss": np.stack(losses)} | also


def _line(
    entry: LineConfig, cells: Sequence[ChosenCell], kept: WeightSource, measure: _Measure
) -> Arrays:
    """`x` [S] from 0 to 1, `loss` and `matched` [C, S], `barrier` [C, 2] of the two."""
    plain, matched = [], []
    for cell in cells:
        first, second = (kept.params(lane, -1) for lane in cell.lanes[:2])
        plain.append(measure.between(first, second, entry.points))
        if entry.match:
            second = slices.match_units(measure.plain, first, second, measure.few).params
            matched.append(measure.between(first, second, entry.points))
        else:
            matched.append(np.full(entry.points, np.nan))
    losses, others = np.stack(plain), np.stack(matched)
    barriers = [np.asarray(slices.barrier(jnp.asarray(one))) for one in (losses, others)]
    return {
        "x": np.linspace(0, 1, entry.points),
        "loss": losses,
        "matched": others,
        "barrier": np.stack(barriers, axis=-1),
        "second_lane": np.array([cell.lanes[1] for cell in cells], np.int64),
    }


def _lanes(
    entry: LanesConfig, cells: Sequence[ChosenCell], kept: WeightSource, measure: _Measure
) -> Arrays:
    """`corners`, three lane numbers, `coordinates` [3, 2], `corner_loss` [3], and a map."""
    own = [cell.lanes[0] for cell in cells] if len(cells) == 3 else list(cells[0].lanes[:3])
    ends = [jax.tree.map(jnp.asarray, kept.params(lane, -1)) for lane in own]
    plane = measure.plane(*ends)
    points = np.asarray(plane.points, np.float64)
    found: Arrays = {
        "corners": np.array(own, np.int64),
        "coordinates": points,
        "corner_loss": np.array([measure.loss_at(end) for end in ends]),
    }
    if not np.isfinite(points).all():
        return found | _no_map(entry.points)
    x, y = _axes(points, entry.points, LANES_MARGIN)
    grid = measure.map(plane.origin, (plane.first, plane.second), x, y)
    return found | {"x": x, "y": y, "loss": grid}


def _axes(points: np.ndarray, count: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Grids [count] in both directions that hold the points with room around them."""
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    least = 0.05 * float(np.max(high - low)) or 1.0  # of points on a line there is still a plane
    room = margin * np.maximum(high - low, least)
    x, y = (np.linspace(a, b, count) for a, b in zip(low - room, high + room, strict=True))
    return x, y


def _no_map(count: int) -> Arrays:
    """Where no plane can be laid, as networks diverged."""
    return {
        "x": np.full(count, np.nan),
        "y": np.full(count, np.nan),
        "loss": np.full((count, count), np.nan),
    }


_MAKERS: Mapping[type, Callable[..., Arrays]] = {
    PathsConfig: _paths,
    SliceConfig: _slice,
    LineConfig: _line,
    LanesConfig: _lanes,
}
