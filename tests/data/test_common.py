"""What holds for every source: names, wrong labels, subsets, paths, targets that are the inputs."""

import numpy as np
import pytest

import initopt_jax as iox
from initopt_jax.config.schema import parse_yaml, read_config
from initopt_jax.data import REGISTRY, SplitSpec, as_dataset, data_root, find_source, load
from initopt_jax.errors import ConfigError
from initopt_jax.lookup import user_files
from initopt_jax.studies.preview import prepare
from initopt_jax.studies.verify import verify


def digits(**options):
    return load({"name": "digits"} | options, kind="classification", split=SplitSpec(seed=5))


def test_label_noise_changes_the_stated_share_of_training_labels_alone():
    clean, noisy, again = digits(), digits(label_noise=0.3), digits(label_noise=0.3)
    wrong = clean.train.targets != noisy.train.targets
    assert wrong.sum() == round(0.3 * 1078)
    for part in ("val", "test"):
        np.testing.assert_array_equal(getattr(clean, part).targets, getattr(noisy, part).targets)
    np.testing.assert_array_equal(clean.train.inputs, noisy.train.inputs)
    assert noisy.fingerprint == again.fingerprint != clean.fingerprint
    # All ten classes take and give; every shift of 1 to 9 is as likely: 323 draws, 9 classes, and a
    # chi-squared with 8 degrees of freedom exceeds 26.1 in one case of a thousand.
    shift = np.bincount((noisy.train.targets - clean.train.targets)[wrong] % 10, minlength=10)
    assert shift[0] == 0
    assert np.sum((shift[1:] - 323 / 9) ** 2 / (323 / 9)) < 26.1


def test_all_labels_of_a_subset_can_be_wrong():
    clean, noisy = digits(limit=50), digits(limit=50, label_noise=1)
    assert len(noisy.train.inputs) == 50
    assert (clean.train.targets != noisy.train.targets).all()


@pytest.mark.parametrize("name", ["iris", "diabetes", "spirals", "adding", "chebyshev", "teacher"])
def test_every_source_takes_a_limit_and_keeps_its_units_on_request(name):
    kind = REGISTRY[name].kinds[0]
    whole, few = (
        load({"name": name, "normalize": False} | limit, kind=kind, split=SplitSpec())
        for limit in ({}, {"limit": 5})
    )
    np.testing.assert_array_equal(few.train.inputs, whole.train.inputs[:5])
    np.testing.assert_array_equal(few.test.targets, whole.test.targets)


X, Y = np.arange(80.0).reshape(20, 2, 2), np.arange(20) % 2


def test_arrays_of_a_users_own_function_take_both():
    options = {"kind": "classification", "split": SplitSpec()}
    whole = as_dataset("mine:load", (X, Y), **options)
    for value in ((X, Y), whole):
        made = as_dataset("mine:load", value, limit=4, label_noise=0.5, **options)
        assert len(made.train.inputs) == 4
        assert (made.train.targets != whole.train.targets[:4]).sum() == 2


@pytest.mark.parametrize("value", [(X, Y), (X, X[:, 0]), "dataset"])
def test_the_target_of_a_reconstruction_is_its_input(value):
    if value == "dataset":
        value = as_dataset("mine:load", (X, Y), kind="classification", split=SplitSpec())
    made = as_dataset("mine:load", value, kind="reconstruction", split=SplitSpec())
    assert made.kind == "reconstruction"
    assert made.outputs == 4
    again = as_dataset("mine:load", made, kind="reconstruction", split=SplitSpec())
    assert again.fingerprint == made.fingerprint
    for part in (made.train, made.val, made.test):
        np.testing.assert_array_equal(part.targets, part.inputs.reshape(-1, 4))


def test_reconstruction_of_pictures_by_name():
    data = load({"name": "digits"}, kind="reconstruction", split=SplitSpec(seed=5))
    np.testing.assert_array_equal(data.train.inputs, digits().train.inputs)
    np.testing.assert_array_equal(data.train.targets, data.train.inputs)
    assert data.outputs == 64


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ({"label_noise": 1.5}, "classification", "label_noise must be .* at most 1, got 1.5"),
        ({"label_noise": "all"}, "classification", "label_noise must be .* got 'all'"),
        ({"label_noise": 0.1}, "reconstruction", "only for classification, and the task is recon"),
        ({"name": "diabetes", "label_noise": 0.1}, "regression", "only for classification"),
        ({"limit": 0}, "classification", "limit must be an integer of at least 1, got 0"),
        ({"normalize": "no"}, "classification", "normalize must be true or false, got 'no'"),
        ({"name": "fodler:x"}, "classification", "'fodler:x'; did you mean 'folder:x'"),
        ({"name": "folder"}, "classification", "'folder'; did you mean 'folder:PATH'"),
        ({"name": "spiral"}, "classification", "'spiral'; did you mean 'spirals'"),
        ({"name": "folder:"}, "classification", "'folder:' needs a path after the colon"),
    ],
)
def test_wrong_specs_are_refused(spec, kind, message):
    with pytest.raises(ConfigError, match=message):
        load({"name": "digits"} | spec, kind=kind, split=SplitSpec())


def test_prefixes_of_data_are_no_modules():
    """`sources` stands below `data` and holds the list a second time."""
    prefixes = {entry.prefix for entry in REGISTRY.values() if entry.prefix}
    assert set(user_files.DATA_PREFIXES) == prefixes
    for prefix in prefixes:
        assert find_source(prefix + "x").prefix == prefix
        config = {"model": {"name": "mine:net"}, "task": {"dataset": {"name": prefix + "x"}}}
        assert user_files.own_modules(config) == ["mine"]
    assert user_files.own_modules({"model": {"name": "folder:net"}}) == ["folder"]


def test_paths_are_looked_for_in_order(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for place, scale in ((first, 1), (second, 2)):
        place.mkdir()
        np.savez(place / "t.npz", x=X * scale, y=Y)
    spec = {"name": "npz:t.npz", "normalize": False}

    def largest(*folders, name=spec["name"]):
        options = {"kind": "classification", "split": SplitSpec(), "folders": folders}
        data = load(spec | {"name": name}, **options)
        return max(part.inputs.max() for part in (data.train, data.val, data.test))

    assert largest(first, second) == 79
    assert largest(tmp_path, second) == 158
    assert largest(first, name=f"npz:{second / 't.npz'}") == 158
    assert data_root("npz:t.npz", [tmp_path, second]) == second
    assert data_root(f"npz:{second / 't.npz'}", [second]) is None
    assert data_root("digits", [second]) is None
    with pytest.raises(ConfigError, match=r"nothing is at .*a.s\.npz and .*did you mean 't\.npz'"):
        largest(first, second, name="npz:s.npz")
    with pytest.raises(ConfigError, match="is a file, and a folder is needed"):
        largest(first, name="folder:t.npz")
    with pytest.raises(ConfigError, match="is a folder, and a file is needed"):
        largest(tmp_path, name="npz:a")


STUDY = """
name: own
task: {name: reconstruction, dataset: "npz:data/t.npz", batch_size: 4}
model: {name: linear}
initializers: [glorot_uniform]
optimizers: [{name: sgd, learning_rate: 0.1}]
seeds: 1
tuning: {seeds: 0}
steps: 2
eval_every: 1
tile_width: 1
audit: false
probes: []
"""


def test_a_study_finds_its_data_beside_the_config_and_again_when_verified(tmp_path, monkeypatch):
    place, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    (place / "data").mkdir(parents=True)
    elsewhere.mkdir()
    np.savez(place / "data" / "t.npz", x=X, y=Y)
    (place / "config.yaml").write_text(STUDY)
    monkeypatch.chdir(elsewhere)
    study = iox.run(place / "config.yaml", tmp_path / "out", devices=1)
    assert study.manifest["config"]["task"]["dataset"]["name"] == "npz:data/t.npz"
    assert study.manifest["dataset"]["kind"] == "reconstruction"
    assert verify(tmp_path / "out", devices=1).exit_code == 0
    config = read_config(place / "config.yaml")  # which knows its place
    assert prepare(config).workload.dataset.fingerprint == study.manifest["dataset"]["fingerprint"]
    with pytest.raises(ConfigError, match=r"npz:data/t\.npz: nothing is at"):
        prepare(parse_yaml(STUDY))
    assert 0 < study.manifest["chance"] < 10


def test_a_misspelt_prefix_in_a_config_is_not_taken_for_a_module(working_dir):
    raw = STUDY.replace("npz:data", "nzp:data")
    (working_dir / "config.yaml").write_text(raw)
    with pytest.raises(ConfigError, match=r"no module 'nzp' .*did you mean 'npz:data/t\.npz'\?"):
        prepare("config.yaml")


def test_a_users_function_keeps_its_own_options(working_dir):
    (working_dir / "own_data.py").write_text(
        "import numpy as np\n"
        "def plain(rows=20):\n"
        "    return np.arange(4.0 * rows).reshape(rows, 4), np.arange(rows) % 2\n"
        "def taking(limit=20):\n"
        "    return plain(limit)\n"
    )
    for name, options, count in (
        ("plain", {"rows": 30}, 18),
        ("plain", {"limit": 10}, 10),
        ("taking", {"limit": 10}, 6),
    ):
        dataset = {"name": f"own_data:{name}", **options}
        task = {"name": "classification", "dataset": dataset, "batch_size": 2}
        assert (
            len(prepare(parse_yaml(STUDY) | {"task": task}).workload.dataset.train.inputs) == count
        )
