"""Landscapes of a study: right numbers from kept weights, their files, and what is refused."""

import copy
import functools
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml

import initopt_jax as iox
from initopt_jax.config.schema import read_config, validate
from initopt_jax.errors import ConfigError, StudyError
from initopt_jax.probes.slices import record
from initopt_jax.reports.charts.net_map import NetPanel, contour_levels
from initopt_jax.reports.charts.results import make_results
from initopt_jax.reports.sections.landscapes import (
    landscape_figures,
    lanes_sentence,
    line_sentence,
    paths_sentence,
    slice_sentence,
)
from initopt_jax.store import LANDSCAPES, RESULTS
from initopt_jax.studies import preview
from initopt_jax.studies.loss_landscapes import StoredWeights, make_landscapes

EPS = float(np.finfo(np.float32).eps)
PICTURES: list[Any] = [
    {"name": "paths", "points": 5},
    {"name": "slice", "points": 5},
    {"name": "slice", "dims": 2, "points": 5, "optimizers": ["sgd"], "reach": 0.5},
    {"name": "line", "points": 13},
    {"name": "lanes", "points": 5, "initializers": ["orthogonal"], "optimizers": ["adam"]},
]
CONFIG = {
    "name": "pictured",
    "task": {"name": "classification", "dataset": "digits", "batch_size": 32},
    "model": {"name": "mlp", "hidden": [4], "activation": "tanh"},
    "initializers": ["zeros", "orthogonal"],
    "optimizers": [
        {"name": "sgd", "learning_rate": [0.1, 1.0], "steps": 4, "eval_every": 2},
        {"name": "adam", "learning_rate": 0.01},
    ],
    "seeds": 3,
    "tuning": {"seeds": 1},
    "steps": 8,
    "eval_every": 2,
    "tile_width": 4,
    "keep": "every",
    "landscapes": PICTURES,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> iox.Study:
    return iox.run(CONFIG, tmp_path_factory.mktemp("pictured") / "study", devices=1)


@pytest.fixture(scope="module")
def network(study: iox.Study) -> tuple[Any, StoredWeights]:
    """The network and the stored weights, as anybody could get at them."""
    experiment = preview.prepare(study.config)
    weights = StoredWeights(experiment, study.kept, study.dataset["step"].values)
    return experiment.workload.network, weights


def loss_of(network: Any, params: Any, examples: int) -> float:
    """The mean loss on the first training examples, by the network alone."""
    inputs, targets = (np.asarray(part[:examples]) for part in (network.inputs, network.targets))
    return float(network.mean_loss(params, inputs, targets))


def files(folder: Path) -> dict[str, bytes]:
    """All of an array folder but its outermost file, which names the study that it belongs to."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*/*"))
        if path.is_file()
    }


def test_the_tuned_cells_and_their_first_seeds_are_drawn(study: iox.Study) -> None:
    best = study.summary().set_index(["initializer", "optimizer"])
    reported = study.lanes[study.lanes["role"] == "report"]
    found = study.landscapes
    assert [picture.kind for picture in found] == ["paths", "slice", "slice", "line", "lanes"]
    paths = found[0].arrays
    names = list(zip(found[0].labels("initializer"), found[0].labels("optimizer"), strict=True))
    assert names == [(i, o) for i in ("zeros", "orthogonal") for o in ("sgd", "adam")]
    for name, lane in zip(names, paths["lane"], strict=True):
        own = reported[reported["cell"] == best.loc[name, "cell"]]
        assert lane == own.index[own["init_seed"] == 0][0]
    assert found[2].labels("optimizer") == ["sgd", "sgd"]
    cell = reported[reported["cell"] == best.loc[("orthogonal", "adam"), "cell"]]
    assert found[4].arrays["corners"].tolist() == cell.index.tolist()


def test_paths_are_the_kept_weights_on_their_plane(study: iox.Study, network: Any) -> None:
    net, weights = network
    arrays = study.landscapes[0].arrays
    assert arrays["step"][0].tolist()[:3] == [0, 2, 4]  # sgd ends after four steps
    assert np.isnan(arrays["step"][0][3:]).all()
    assert np.isnan(arrays["coordinates"][0, 3:]).all()
    assert arrays["step"][1].tolist() == [0, 2, 4, 6, 8]
    for row, lane in enumerate(arrays["lane"]):
        ends = weights.params(int(lane), -1)
        count = int(np.isfinite(arrays["step"][row]).sum())
        assert arrays["path_loss"][row, count - 1] == pytest.approx(
            loss_of(net, ends, 1024), rel=1e-5
        )
    # The train loss of the study itself, on the same examples, is another way to the same number.
    every = [weights.params(int(lane), place) for lane in arrays["lane"][1:2] for place in range(5)]
    rows = np.stack([np.concatenate([np.ravel(x) for x in jax.tree.leaves(p)]) for p in every])
    places, off = arrays["coordinates"][1], arrays["off"][1]
    # Distances between points of a path: those on the plane, and what lies off it.
    for one in range(5):
        for other in range(one):
            apart = np.linalg.norm(rows[one].astype(float) - rows[other])
            near = np.linalg.norm(places[one] - places[other])
            assert near <= apart * (1 + 1e-5) + 1e-6
            assert apart <= near + off[one] + off[other] + 1e-5
    assert 0 < arrays["explained"][1] <= arrays["explained"][0] < 1
    x, y = arrays["x"], arrays["y"]
    inside = (
        np.nanmin(arrays["coordinates"], axis=(0, 1)),
        np.nanmax(arrays["coordinates"], axis=(0, 1)),
    )
    assert x[0] < inside[0][0] < inside[1][0] < x[-1]
    assert y[0] < inside[0][1] < inside[1][1] < y[-1]
    assert arrays["loss"].shape == (5, 5)
    assert np.isfinite(arrays["loss"]).all()
    best = int(np.nanargmin([row[np.isfinite(row)][-1] for row in arrays["path_loss"]]))
    assert arrays["barrier"][best] == pytest.approx(0, abs=10 * EPS)


def test_slices_lines_and_planes_pass_through_the_networks(study: iox.Study, network: Any) -> None:
    net, weights = network
    _, curve, mapped, line, plane = study.landscapes
    for picture, middle in ((curve, (2,)), (mapped, (2, 2))):
        for row, lane in enumerate(picture.arrays["lane"]):
            own = loss_of(net, weights.params(int(lane), -1), int(picture.arrays["examples"]))
            assert picture.arrays["loss"][row][middle] == pytest.approx(own, rel=1e-5)
    assert mapped.arrays["x"].tolist() == [-0.5, -0.25, 0.0, 0.25, 0.5]
    for row, (first, second) in enumerate(
        zip(line.arrays["lane"], line.arrays["second_lane"], strict=True)
    ):
        own = [loss_of(net, weights.params(int(lane), -1), 1024) for lane in (first, second)]
        assert line.arrays["loss"][row, [0, -1]] == pytest.approx(own, rel=1e-5)
        assert line.arrays["matched"][row, [0, -1]] == pytest.approx(own, rel=1e-5)
        losses = line.arrays["loss"][row].astype(float)
        straight = np.linspace(losses[0], losses[-1], 13)
        wanted = np.max(losses - straight)
        assert line.arrays["barrier"][row, 0] == pytest.approx(wanted, abs=20 * EPS)
    ends = [weights.params(int(lane), -1) for lane in plane.arrays["corners"]]
    own = [loss_of(net, end, 1024) for end in ends]
    assert plane.arrays["corner_loss"] == pytest.approx(own, rel=1e-5)
    flat = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(p)]).astype(float) for p in ends]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        apart = np.linalg.norm(plane.arrays["coordinates"][a] - plane.arrays["coordinates"][b])
        assert apart == pytest.approx(np.linalg.norm(flat[a] - flat[b]), rel=1e-5)


def test_pictures_stand_in_the_report(study: iox.Study, full_reports: None) -> None:
    study.report()
    names = ["paths", "slice", "slice_2", "line", "lanes"]
    for name in names:
        assert (study.dir / "figures" / f"landscape_{name}.png").stat().st_size > 5_000
        assert (study.dir / "figures" / f"landscape_{name}.pdf").stat().st_size > 1_000
    page = (study.dir / "report.html").read_text(encoding="utf-8")
    assert "of the variance of 4 paths" in page
    assert "Between two seeds the barrier is lowest" in page


def test_bits_of_the_lanes_are_the_same_without_landscapes(
    study: iox.Study, tmp_path: Path
) -> None:
    plain = iox.run(CONFIG | {"landscapes": []}, tmp_path / "plain", devices=1)
    assert not (plain.dir / LANDSCAPES).exists()
    assert files(plain.dir / RESULTS) == files(study.dir / RESULTS)
    assert (plain.dir / "lanes.csv").read_bytes() == (study.dir / "lanes.csv").read_bytes()
    # Pictures may be asked for afterwards, from the same weights: nothing is trained again.
    began = plain.manifest["seconds"]
    again = iox.run(CONFIG, plain.dir, devices=1)
    assert again.manifest["seconds"] == began
    assert (again.dir / LANDSCAPES).read_bytes() == (study.dir / LANDSCAPES).read_bytes()
    assert files(plain.dir / RESULTS) == files(study.dir / RESULTS)
    assert again.config.landscapes == study.config.landscapes


def test_a_damaged_file_is_told_of_and_made_again(study: iox.Study) -> None:
    file = study.dir / LANDSCAPES
    before = file.read_bytes()
    file.write_bytes(before[: len(before) // 2])
    with pytest.raises(StudyError, match=r"landscapes\.npz of .* is damaged"):
        _ = iox.open_study(study.dir).landscapes
    iox.run(CONFIG, study.dir, devices=1)
    assert file.read_bytes() == before


# --- configs -------------------------------------------------------------------------------------

WRONG = [
    ("paths", {"keep": None}, "set keep: every"),
    ("paths", {"keep": "final"}, "paths need weights along training"),
    ("paths", {"keep": [0, 2]}, "list at least 3 steps"),
    ("pahts", {}, "landscapes.0: unknown landscape 'pahts'; did you mean 'paths'?"),
    ({"points": 5}, {}, "an entry needs a name: paths, slice, line, lanes"),
    ({"name": "slice", "dim": 2}, {}, "unknown key 'landscapes.0.slice.dim'; did you mean 'dims'?"),
    ({"name": "slice", "dims": 3}, {}, "landscapes.0.slice.dims: input should be 1 or 2"),
    ({"name": "paths", "points": 2}, {}, "points: input should be greater than or equal to 3"),
    ({"name": "slice", "reach": 0}, {}, "reach: input should be greater than 0"),
]


@pytest.mark.parametrize(("entry", "also", "said"), WRONG)
def test_wrong_entries_are_refused(entry: Any, also: dict, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        validate(CONFIG | {"landscapes": [entry]} | also)
    assert said in str(refused.value)


def test_a_cost_function_has_no_networks_to_draw() -> None:
    config = {
        "name": "bare",
        "task": {"name": "test_function", "function": "himmelblau"},
        "initializers": ["grid"],
        "optimizers": [{"name": "gd", "learning_rate": 0.01}],
        "keep": "every",
        "landscapes": ["paths"],
    }
    with pytest.raises(ConfigError, match="landscapes are pictures of networks"):
        validate(config)


UNMAKEABLE = [
    ({"name": "paths", "optimizers": ["adm"]}, {}, "unknown optimizer 'adm'; did you mean 'adam'?"),
    ({"name": "paths", "initializers": ["zeros", "zeros"]}, {}, "must name each once"),
    ("line", {"seeds": 1}, r"landscapes.0 \(line\): a line joins two seeds"),
    ("lanes", {}, "choose 4 cells"),
    (
        {"name": "lanes", "initializers": ["zeros"], "optimizers": ["adam"]},
        {"seeds": 2},
        "choose 1 cells, and the study has seeds: 2",
    ),
]


@pytest.mark.parametrize(("entry", "also", "said"), UNMAKEABLE)
def test_what_no_lane_can_show_is_refused_before_anything_exists(
    entry: Any, also: dict, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        preview.plan(CONFIG | {"landscapes": [entry]} | also, devices=1)


def test_units_that_cannot_be_matched_are_refused_before_training(tmp_path: Path) -> None:
    config = copy.deepcopy(CONFIG) | {
        "model": {"name": "rnn", "hidden": 4},
        "landscapes": ["line"],
    }
    with pytest.raises(ConfigError, match=r"landscapes.0 \(line\): the units .*set match: false"):
        iox.run(config, tmp_path / "none", devices=1)
    assert not (tmp_path / "none").exists()


def test_entries_survive_the_manifest() -> None:
    config = read_config(CONFIG)
    assert validate(config.to_json()) == config
    assert config.landscapes[1].name == "slice"


# --- words and maps ------------------------------------------------------------------------------


def picture(kind: str, **arrays: Any) -> record.NetLandscape:
    names = {"initializer": np.array(["a", "b", "c"]), "optimizer": np.array(["x", "x", "y"])}
    return record.NetLandscape(
        kind, names | {name: np.asarray(array, float) for name, array in arrays.items()}
    )


def test_the_sentence_of_paths_tells_who_lies_in_the_best_basin() -> None:
    make = functools.partial(
        picture,
        "paths",
        explained=[0.6, 0.25],
        off=[[1.0, 2.0]] * 3,
        step=[[0.0, 9.0]] * 3,
        path_loss=[[2.0, 0.1], [2.0, 0.05], [2.0, 0.2]],
    )
    text = paths_sentence(make(barrier=[0.01, 0.0, 0.7]))
    assert "holds 85% of the variance of 3 paths (the ends lie 2 off it" in text
    assert "the lowest end is that of b with x, at a loss of 0.05" in text
    assert "; a with x lies in its basin: " in text
    assert "the highest barrier is 0.7, towards c with y" in text
    assert "none of the 2 others lies in its basin" in paths_sentence(make(barrier=[0.5, 0, 0.7]))
    assert "; all the others lie in its basin" in paths_sentence(make(barrier=[0.0, 0, 0.03]))
    stuck = make(barrier=[0.0, 0, 0.0], path_loss=[[2.0, 1.9], [2.0, 0.05], [2.0, 0.2]])
    assert "(1 path stayed above a tenth of the loss at the start)" in paths_sentence(stuck)


def test_the_other_sentences_give_the_numbers_of_their_pictures() -> None:
    curves = picture("slice", x=[-1, 0, 1], loss=[[3, 1, 3], [1, 0.5, 1], [9, 1, 9]])
    text = slice_sentence(curves)
    assert text.startswith("b with x lies flattest: the loss rises by 0.5 at ±1 filter norms")
    assert "against 8 around c with y, the steepest" in text
    lines = picture(
        "line",
        loss=[[1, 2, 1], [1, 1, 1], [1, 5, 1]],
        barrier=[[1, 0.5], [0, 0.0], [4, 1]],
    )
    text = line_sentence(lines)
    assert "lowest for b with x (0) and highest for c with y (4)" in text
    assert "one basin for 1 of 3 pairs" in text
    three = picture(
        "lanes",
        coordinates=[[0, 0], [3, 0], [0, 4]],
        corner_loss=[0.1, 0.2, 0.3],
        x=[0, 1, 3],
        y=[0, 1.3, 4],
        loss=[[1, 2, 3], [4, 7, 6], [7, 8, 9]],
    )
    assert lanes_sentence(three) == (
        "The three networks lie 3 to 5 apart, at losses of 0.1 to 0.3; in the middle between them "
        "the loss is 7."
    )


def test_contours_stand_at_equal_ratios_and_never_below_a_millionth() -> None:
    x = np.arange(2.0)
    levels, floor = contour_levels((NetPanel("", x, x, np.array([[0.0, 1e-9], [1.0, np.inf]])),))
    assert floor == 1e-6
    np.testing.assert_allclose(np.diff(levels), 6 / (len(levels) - 1))
    flat, _ = contour_levels((NetPanel("", x, x, np.ones((2, 2))),))
    assert len(flat) == 1


class Lost:
    """Weights of lanes that left the finite numbers after their start; some of them, or all."""

    def __init__(self, weights: StoredWeights, lanes: set[int] | None):
        self.steps, self._weights, self._lanes = weights.steps, weights, lanes

    def params(self, lane: int, place: int) -> Any:
        found = self._weights.params(lane, place)
        lost = (self._lanes is None or lane in self._lanes) and place != 0
        return jax.tree.map(lambda leaf: leaf * np.nan, found) if lost else found


def test_lost_networks_leave_no_picture_and_touch_no_other(study: iox.Study, network: Any) -> None:
    experiment, weights = preview.prepare(study.config), network[1]
    best = study.summary()
    whole = study.landscapes
    gone = make_landscapes(experiment, best, Lost(weights, None))
    assert all(not np.isfinite(one.arrays["loss"]).any() for one in gone[1:])
    results = make_results(study.dataset.load(), study.lanes, study.info)
    shown = landscape_figures(results, gone[1:])
    assert shown == []
    lane = int(whole[0].arrays["lane"][0])
    one = make_landscapes(experiment, best, Lost(weights, {lane}))
    assert np.isnan(one[0].arrays["coordinates"][0, 1:]).all()
    assert np.isfinite(one[0].arrays["loss"]).all()
    for picture, before in zip(one[1:], whole[1:], strict=True):
        rows = slice(1, None) if picture.kind in ("slice", "line") else slice(None)
        after = picture.arrays["loss"][rows]
        np.testing.assert_array_equal(after, before.arrays["loss"][rows])
        assert picture.kind == "lanes" or np.isnan(picture.arrays["loss"][0]).any()
    assert len(landscape_figures(results, one)) == len(whole)


# --- the page ------------------------------------------------------------------------------------


def test_the_page_works_as_written(repository: Path) -> None:
    text = (repository / "docs" / "probes_landscapes.md").read_text(encoding="utf-8")
    (written,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    found = validate(CONFIG | yaml.safe_load(written)).landscapes
    assert [entry.name for entry in found] == ["paths", "slice", "slice", "line", "lanes"]
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["curve"].shape == (21,)
    assert float(names["curve"][10]) < (20 * EPS) ** 2  # its own outputs are the targets, rounded
    assert float(names["after"]) < (20 * EPS) ** 2 < 0.1 < float(names["before"])
    for name in re.findall(r"^\| `(\w+)\(", text, flags=re.MULTILINE):
        assert callable(getattr(iox.probes, name))
