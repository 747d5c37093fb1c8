"""Studies of a bare test function: what a config may say, and what comes of it."""

import sys
import threading

import numpy as np
import pandas as pd
import pytest

import initopt_jax as iox
from initopt_jax.config.schema import validate
from initopt_jax.initializers import initialize
from initopt_jax.keys import stream_key
from initopt_jax.planning.resolve import resolve
from initopt_jax.studies.preview import audit, initial_weights, prepare
from initopt_jax.studies.verify import verify
from initopt_jax.tasks.functions import REGISTRY


def config(**changes):
    """A study of 2 x 9 lanes of 40 steps each; with one setting each there is nothing to tune."""
    return {
        "name": "functions",
        "task": {"name": "test_function", "function": "himmelblau"},
        "initializers": ["grid"],
        "optimizers": [
            {"name": "sgd", "learning_rate": [0.01]},
            {"name": "adam", "learning_rate": 0.1},
        ],
        "seeds": 9,
        "tuning": {"seeds": 2},
        "steps": 40,
        "eval_every": 10,
        "tile_width": 8,
        **changes,
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study of `config`, run once."""
    return iox.run(config(), tmp_path_factory.mktemp("function") / "study", devices=1)


def report_lanes(study, optimizer):
    lanes = study.lanes
    return lanes.index[(lanes["optimizer"] == optimizer) & (lanes["role"] == "report")]


def test_the_task_may_have_its_former_name():
    former = config(task={"name": "cost_function", "function": "himmelblau"})
    assert validate(former) == validate(config())


def test_a_run_descends_as_its_formula_says(study):
    lanes = report_lanes(study, "sgd")
    path = study.dataset["point"].sel(lane=lanes).to_numpy()
    edge = np.linspace(-5, 5, 3)
    x, y = (axis.ravel() for axis in np.meshgrid(edge, edge))
    np.testing.assert_array_equal(path[:, 0], np.stack([x, y], axis=-1))
    for step in range(40):
        if step % 10 == 0:
            np.testing.assert_allclose(path[:, step // 10], np.stack([x, y], -1), rtol=1e-4)
        a, b = x**2 + y - 11, x + y**2 - 7
        x, y = x - 0.01 * (4 * x * a + 2 * b), y - 0.01 * (2 * a + 4 * y * b)
    loss = (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2
    found = study.dataset["val_loss"].sel(lane=lanes)[:, -1]
    # Each run is near a minimum, where a float32 point is off by 1e-6 and losses grow as 40 d^2.
    np.testing.assert_allclose(found, loss, rtol=1e-3, atol=1e-10)


def test_what_is_recorded(study):
    data = study.dataset
    assert data["point"].dims == ("lane", "eval", "coordinate")
    assert data["coordinate"].to_numpy().tolist() == ["x", "y"]
    assert "weight_norm" not in data
    minima = np.array(REGISTRY["himmelblau"].minima())
    gaps = np.linalg.norm(data["point"].to_numpy()[:, :, None] - minima, axis=-1).min(axis=-1)
    np.testing.assert_allclose(data["val_distance"], gaps, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(data["test_loss"], data["val_loss"][:, -1])
    assert study.config.target.at_most == REGISTRY["himmelblau"].target
    reached = data["steps_to_target"].sel(lane=report_lanes(study, "sgd"))
    assert ((reached <= 40) == (data["test_loss"].sel(lane=reached["lane"]) <= 1e-6)).all()
    assert study.manifest["function"]["minima"] == [
        list(p) for p in REGISTRY["himmelblau"].minima()
    ]


def test_tuning_starts_elsewhere():
    swept = [{"name": name, "learning_rate": [0.01, 0.1]} for name in ("sgd", "adam")]
    experiment = prepare(config(optimizers=swept))
    lanes = experiment.lanes[experiment.lanes["role"] == "tuning"]
    columns = (lanes[name].to_numpy() for name in ("initializer_cell", "init_seed"))
    start = initial_weights(experiment).stacked(*columns)["point"]
    tuning = start[lanes["optimizer"] == "sgd"]
    assert (np.abs(tuning) < 5).all()
    assert len(np.unique(tuning)) == 4  # two numbers of two seeds, none of them on the grid
    np.testing.assert_array_equal(tuning, start[lanes["optimizer"] == "adam"])


def test_verify_and_report(study, full_reports):
    assert verify(study.dir, sample=5, devices=1).exit_code == 0
    study.report()
    text = (study.dir / "report.html").read_text().partition("plotly.js")[0]
    assert "18 runs minimized the test function himmelblau" in text
    for word in ("accuracy", "data set", "batches", "network", "test loss", "validation", "epoch"):
        assert word not in text
    table = pd.read_csv(study.dir / "summary.csv")
    assert table["n_seeds"].tolist() == [9, 9]


def test_stopped_and_resumed_runs_have_the_same_bits(study, study_dir):
    stop = threading.Event()

    def stop_in_the_middle(tally):
        if tally.lanes_done:
            stop.set()

    with pytest.raises(iox.Interrupted):
        iox.run(config(), study_dir, devices=1, progress=stop_in_the_middle, stop=stop)
    resumed = iox.run(config(), study_dir, devices=1)
    for name in study.dataset.data_vars:
        np.testing.assert_array_equal(resumed.dataset[name], study.dataset[name])


def test_early_stop_ends_where_the_target_is_met(study, study_dir):
    short = iox.run(config(early_stop=True), study_dir, devices=1).dataset
    full = study.dataset
    np.testing.assert_array_equal(short["steps_to_target"], full["steps_to_target"])
    ended = np.isfinite(short["steps_to_target"]) & (short["steps_to_target"] < 40)
    assert ended.any()
    there = short["step"].notnull()
    assert not there[ended].all(axis=1).any()
    assert (short["val_loss"] == full["val_loss"]).where(there, True).all()


# --- starting points ----------------------------------------------------------------------------


def starts(*initializers, seeds=4, **changes):
    """The initializer cells of a config, nothing run."""
    raw = config(initializers=list(initializers), seeds=seeds, **changes)
    return resolve(validate(raw)).initializer_cells


def test_grid_over_bounds_of_its_own():
    (cell,) = starts({"name": "grid", "low": 0, "high": [1, 3]})
    assert cell.place(np.arange(4)).tolist() == [[0, 0], [1, 0], [0, 3], [1, 3]]


def test_grid_begins_at_the_first_seed_and_a_single_point_is_its_middle():
    (cell,) = starts({"name": "grid", "low": -1, "high": 1}, seeds={"all": 4, "first": 100})
    assert cell.place(np.array([100, 103])).tolist() == [[-1, -1], [1, 1]]
    (cell,) = starts({"name": "grid", "low": 0, "high": 2}, seeds=1)
    assert cell.place(np.array([0])).tolist() == [[1, 1]]


def test_points_are_initializations_of_their_own():
    cells = starts({"name": "points", "points": [[-1.2, 1], [0, 0.5]]}, "zeros")
    assert [cell.label for cell in cells] == ["(-1.2, 1)", "(0, 0.5)", "zeros"]
    assert cells[0].hyperparameters == {"x": -1.2, "y": 1.0}
    assert cells[1].place(np.array([7, 1_000_000])).tolist() == [[0, 0.5]] * 2


def test_drawn_points_are_those_of_initialize_whoever_asks():
    raw = config(initializers=[{"name": "normal", "stddev": 2.0}])
    experiment = resolve(validate(raw))
    points = initial_weights(experiment)
    seeds = np.array([5, 1_000_003, 0, 5])
    drawn = points.stacked(np.zeros(4, int), seeds)["point"]
    np.testing.assert_array_equal(drawn[0], drawn[3])
    np.testing.assert_array_equal(drawn[1], points(0, 1_000_003)["point"])
    for seed, point in zip(seeds, drawn, strict=True):
        key = stream_key(int(seed), "init")
        alone = initialize(key, experiment.workload.params, experiment.initializer_cells[0].rules)[
            "point"
        ]
        # Thousands are drawn by other vector instructions than one: the last bits may differ.
        np.testing.assert_allclose(point, alone, rtol=1e-6)


def test_lanes_of_several_cells_get_each_their_own():
    normal = {"name": "normal", "stddev": 2.0}
    points = initial_weights(resolve(validate(config(initializers=["grid", normal], seeds=4))))
    cells, seeds = np.array([1, 0, 1, 0]), np.array([2, 3, 2000, 0])
    together = points.stacked(cells, seeds)["point"]
    alone = [points(int(c), int(s))["point"] for c, s in zip(cells, seeds, strict=True)]
    np.testing.assert_array_equal(together, alone)
    assert together[1].tolist() == [5, 5]
    assert together[3].tolist() == [-5, -5]


def test_audit_shows_each_start():
    points = {"name": "points", "points": [[1, 2]]}
    rows = audit(config(initializers=["grid", points, {"name": "normal", "stddev": 2.0}]))
    assert [(row.path, row.verdict) for row in rows] == [("point", "ok")] * 3
    assert rows[1].mean == 1.5


# --- other functions ----------------------------------------------------------------------------

BOWL = """
def bowl(x, y, depth=1.0):
    return depth * (x**2 + (y - 1) ** 2)

bowl.minima, bowl.domain, bowl.target = [(0, 1)], (-1, 1, 0, 2), 1e-3
"""


def test_a_function_of_ones_own(working_dir):
    (working_dir / "mine.py").write_text(BOWL)
    function = {"name": "mine:bowl", "depth": 0.5}
    study = iox.run(config(task={"name": "test_function", "function": function}), devices=1)
    assert list(study.manifest["sources"]) == ["mine"]
    assert study.info.model == "mine:bowl, depth 0.5"
    assert study.config.target.at_most == 1e-3
    data = study.dataset
    gaps = data["val_distance"].sel(lane=report_lanes(study, "adam"))
    assert float(gaps[:, 0].max()) == pytest.approx(2**0.5)
    assert float(gaps[:, -1].max()) < 0.2
    assert data["point"][:, 0].min() == -1
    np.testing.assert_allclose(data["val_loss"], 0.5 * data["val_distance"] ** 2, rtol=1e-5)
    (working_dir / "mine.py").write_text(BOWL.replace("depth *", "2 * depth *"))
    assert verify(study.dir, lanes=[0], devices=1, trust=True).exit_code == 2


def test_a_study_without_paths_has_no_map(working_dir, full_reports):
    optimizers = [{"name": "gd", "learning_rate": 0.001}]
    study = iox.run(
        config(probes=["weight_norm"], optimizers=optimizers, steps=10, seeds=4), devices=1
    )
    assert not (study.dir / "surface.npz").exists()
    assert not list(study.dir.glob("figures/basins.*"))
    assert (study.dir / "report.html").is_file()


def test_reading_results_runs_no_code(working_dir, monkeypatch, full_reports):
    """Every number, map and page comes from what is stored; without the values, it is said."""
    (working_dir / "mine.py").write_text(BOWL)
    function = {"name": "mine:bowl", "depth": 0.5}
    made = iox.run(config(task={"name": "test_function", "function": function}), devices=1)
    page, mesh = (made.dir / "report.html").read_bytes(), made.info.test_function.mesh
    x, y = np.meshgrid(mesh.x, mesh.y)
    np.testing.assert_allclose(mesh.values, 0.5 * (x**2 + (y - 1) ** 2), rtol=1e-5, atol=1e-6)
    (working_dir / "mine.py").write_text("raise RuntimeError('code was run')")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    study = iox.open_study(made.dir)
    assert study.info.test_function.value is None
    with pytest.raises(iox.ConfigError, match="stored values alone"):
        study.info.test_function(0.0, 0.0)
    study.report()
    assert (made.dir / "report.html").read_bytes() == page
    assert len(study.summary()) == len(made.summary())
    assert "mine" not in sys.modules
    content = bytearray((made.dir / "surface.npz").read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (bytes(content), None):
        (made.dir / "surface.npz").unlink()
        if damaged:
            (made.dir / "surface.npz").write_bytes(damaged)
        iox.open_study(made.dir).report()
        assert "the maps have no contours" in (made.dir / "report.html").read_text()
    assert "mine" not in sys.modules


def test_an_unbounded_cost_gives_a_report(working_dir, full_reports):
    """Runs down a saddle leave the numbers: they are counted, and the rest has negative losses."""
    task = {"name": "test_function", "function": "saddle"}
    optimizers = [{"name": "gd", "learning_rate": [0.01, 3.0]}]
    study = iox.run(config(task=task, optimizers=optimizers, steps=200, seeds=4), devices=1)
    assert 0 < int(study.dataset["diverged"].sum()) < len(study.lanes)
    assert float(study.dataset["val_loss"].min()) < 0
    assert "val_distance" not in study.dataset
    assert study.config.target is None
    assert (study.dir / "report.html").is_file()
