"""Configs and folders of strangers: which code may be run, and which never is."""

import importlib
import json
import os
import shutil
import sys

import pytest

import initopt_jax as iox
from initopt_jax.config.schema import read_config
from initopt_jax.lookup import trust, user_files
from initopt_jax.lookup.names import import_object, importable_from
from initopt_jax.store import Store, maker
from initopt_jax.studies import preview
from initopt_jax.studies.verify import verify

OWN = """
import functools
import os
import pathlib
from shutil import rmtree

import jax

pathlib.Path(__file__).with_name("it-ran").touch()

def bowl(x, y):
    return x**2 + (y - 1) ** 2

def _private(x, y):
    return x

class Kinds:
    @staticmethod
    def bowl(x, y):
        return x

def unclear(x, y):
    return x

unclear.__signature__ = 3
bound = functools.partial(bowl)
jitted = jax.jit(bowl)
quick = functools.partial(os.system)
"""
CONFIG = {
    "name": "own",
    "task": {"name": "test_function", "function": "mine:bowl"},
    "initializers": ["grid"],
    "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
    "seeds": 1,
    "steps": 2,
    "eval_every": 1,
    "keep": "final",
}
NETWORK = {
    "name": "net",
    "task": {"name": "classification", "dataset": "digits"},
    "model": "linear",
    "initializers": ["zeros"],
    "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
    "seeds": 1,
    "steps": 2,
}


@pytest.fixture
def own(working_dir, monkeypatch):
    (working_dir / "mine.py").write_text(OWN)
    with importable_from(working_dir):
        user_files.forget(["mine"])
        yield working_dir / "mine.py"
    user_files.forget(["mine"])


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "optax:adam", "optax.contrib:muon", "jax.nn.initializers:he_normal", "flax.linen:Dense",
        "initopt_jax.initializers:he_normal", "initopt_jax.models.cnn:cnn", "mine:bowl",
        "mine:_private", "mine:Kinds.bowl", "mine:bound", "mine:jitted",
    ],
)  # fmt: skip
def test_names_of_ones_own_files_and_of_shipped_modules(own, name):
    assert callable(import_object("model", name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((name, "is of Python's standard library") for name in (
            "subprocess:getoutput", "os:system", "os.path:join", "builtins:eval", "posix:system",
            "xml.etree.ElementTree:parse", "sys:exit", "test.support:run_unittest", "this:c",
        )),
        *((name, "belongs to an installed package .*--trust") for name in (
            "numpy:load", "pandas:read_csv", "PIL.Image:open", "pip._internal:main",
        )),
        *((name, "only these modules may be named") for name in (
            "jax.tools.jax_to_ir:main", "jax.numpy:load", "jax:jit", "initopt_jax.cli:main",
            "initopt_jax.data:os.system", "initopt_jax.data.cache:clear", "flax.training:x",
        )),
        ("optax:contrib.muon", "is a module.*'optax.contrib:function'"),
        ("mine:os.system", "'os' is a module"),
        ("mine:rmtree", "a function of 'shutil', which no config may name"),
        ("mine:unclear", "does not say which arguments it takes"),
        ("mine:quick", "which no config may name"),
        ("mine:__builtins__", "cannot be named"),
        ("mine:bowl.__globals__.get", "'__globals__' cannot be named"),
        ("initopt_jax.models.cnn:jnp.load", "unknown name 'jnp'|is a module"),
    ],
)  # fmt: skip
def test_names_that_stand_for_nothing(own, name, message):
    with pytest.raises(iox.ConfigError, match=message):
        import_object("model", name)


def test_installed_packages_are_for_those_who_trust_them(own):
    with trust.trusting(True):
        assert callable(import_object("dataset", "pandas:read_csv"))
        with pytest.raises(iox.ConfigError, match="standard library"):
            import_object("dataset", "subprocess:getoutput")
    with pytest.raises(iox.ConfigError, match="installed package"):
        import_object("dataset", "pandas:read_csv")


ENTRIES = {
    "task": {"task": {"name": "NAME", "dataset": "digits"}},
    "dataset": {"task": {"name": "classification", "dataset": {"name": "NAME", "cmd": "x"}}},
    "augment": {"task": {"name": "classification", "dataset": "digits", "augment": ["NAME"]}},
    "model": {"model": {"name": "NAME", "cmd": "touch it-ran"}},
    "initializer": {"initializers": ["NAME"]},
    "bias": {"initializers": [{"name": "zeros", "bias": "NAME"}]},
    "base": {"initializers": [{"name": "lsuv", "base": {"name": "NAME"}}]},
    "rule": {"initializers": [{"name": "zeros", "rules": {"*": "NAME"}}]},
    "optimizer": {"optimizers": [{"name": "NAME"}]},
    "schedule": {"optimizers": [{"name": "sgd", "learning_rate": 1.0, "schedule": "NAME"}]},
    "modifier": {"optimizers": [{"name": "sgd", "learning_rate": 1.0, "modifiers": ["NAME"]}]},
    "probe": {"probes": [{"name": "NAME", "cmd": "touch it-ran"}]},
    "function": CONFIG | {"task": {"name": "test_function", "function": "NAME"}},
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_every_name_in_a_config_is_held_to_the_rule(working_dir, kind):
    """Where it is looked up, and where a manifest is searched for code before any is run."""
    text = json.dumps({**NETWORK, **ENTRIES[kind]} if kind != "function" else ENTRIES[kind])
    named = read_config(json.loads(text.replace("NAME", "os:system")))
    assert user_files.own_modules(named.to_json()) == ["os"]
    with pytest.raises(iox.ConfigError, match="'os' is of Python's standard library"):
        preview.prepare(named)


def test_files_beside_a_config_that_names_none_are_not_importable(working_dir):
    before = list(sys.path)
    with preview._importable(read_config(NETWORK), [working_dir]):
        assert sys.path == before
    with preview._importable(read_config(CONFIG), []):
        assert sys.path[0] == str(working_dir.resolve())


def test_module_whose_file_is_gone_is_forgotten(own):
    import_object("function", "mine:bowl")
    own.unlink()
    assert user_files.collect(["mine"]) == {}
    with pytest.raises(iox.ConfigError, match="no module 'mine'"):
        preview.prepare(CONFIG)


def test_installed_packages_go_before_files_that_nobody_named(working_dir, monkeypatch):
    """A module that this package would import late, and one that the user's own file imports."""
    for name in ("wave", "sched"):  # of Python, and rarely imported
        (working_dir / f"{name}.py").write_text("here = True\n")
        sys.modules.pop(name, None)
    (working_dir / "mine.py").write_text(
        "import sched\nsched.here\n\ndef bowl(x, y):\n    return x\n"
    )
    found = {}
    with preview._importable(read_config(CONFIG), []):
        import_object("function", "mine:bowl")
        for name in ("wave", "sched"):
            found[name] = hasattr(importlib.import_module(name), "here")
    assert found == {"wave": False, "sched": True}
    assert not any(type(finder).__name__ == "_InstalledFirst" for finder in sys.meta_path)
    for name in ("wave", "sched", "mine"):
        sys.modules.pop(name, None)


# --- folders --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of one lane on a test function of one's own."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "mine.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        iox.run(CONFIG, folder / "runs" / "own", devices=1)
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy of it, looked at from another folder; nothing of it has been run yet."""
    copy = shutil.copytree(made, tmp_path / "copy")
    (copy / "it-ran").unlink()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return copy


def change(project, **values):
    """The manifest as a stranger would write it, who can make a seal as well."""
    store = Store(project / "runs" / "own")
    store.write_manifest(store.manifest() | values)


def test_ones_own_study_is_verified_wherever_it_lies(project):
    assert verify(project / "runs" / "own", devices=1).exit_code == 0


def test_strangers_code_is_run_for_those_who_trust_it(project, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "another-account"))
    study, folder = iox.open_study(project / "runs" / "own"), project / "runs" / "own"
    assert len(study.summary()) == 1
    study.report()
    calls = (
        lambda **how: verify(folder, devices=1, **how).exit_code,
        lambda **how: study.params(0, **how)["point"].shape[0] - 2,
        lambda **how: study.probe("point", lanes=[0], **how).sizes["lane"] - 1,
    )
    for call in calls:
        with pytest.raises(
            iox.StudyError, match=r"not made by you.*run mine \(.*mine\.py.*--trust"
        ):
            call()
    assert not (project / "it-ran").exists()
    assert [call(trust=True) for call in calls] == [0, 0, 0]
    assert (project / "it-ran").exists()


@pytest.mark.parametrize("sha256", ["0" * 64, None, 7, ["x"]])
def test_hashes_are_compared_before_anything_is_run(project, sha256):
    if sha256 == "0" * 64:
        entry = {"file": "../../mine.py", "sha256": sha256}
        change(project, sources={"mine": entry})
    else:
        (project / "mine.py").write_text(OWN + f"# {sha256}\n")
    folder = project / "runs" / "own"
    with pytest.raises(iox.StudyError, match=r"sources\.mine: the file has changed since"):
        verify(folder, devices=1)
    with pytest.raises(iox.StudyError, match=r"sources\.mine: the file has changed since"):
        iox.open_study(folder).params(0)
    with importable_from(project), pytest.raises(iox.StudyError, match=r"a study of other code"):
        iox.run(CONFIG, folder, devices=1)
    assert not (project / "it-ran").exists()


@pytest.mark.parametrize("name", ["subprocess:getoutput", "os:system", "pip:main", "mine:rmtree"])
def test_no_trust_makes_a_manifest_name_what_no_config_may(project, name):
    manifest = json.loads((project / "runs" / "own" / "manifest.json").read_text())
    manifest["config"]["task"]["function"] = {"name": name}
    change(project, config=manifest["config"])
    for trusted in (False, name == "pip:main"):
        with pytest.raises(iox.StudyError):
            verify(project / "runs" / "own", devices=1, trust=trusted)
    if name != "pip:main":
        with pytest.raises(iox.StudyError, match=r"no config may name"):
            verify(project / "runs" / "own", devices=1, trust=True)


def test_a_manifest_cannot_bring_a_file_into_a_config_that_is_run(project, monkeypatch):
    """The folder given by --out says where its `mine` lies; the user's own is elsewhere."""
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "another-account"))
    with pytest.raises(iox.ConfigError, match="no module 'mine'"):
        iox.run(CONFIG, project / "runs" / "own", devices=1)
    assert not (project / "it-ran").exists()


def test_strangers_studies_read_no_data_from_afar(working_dir, monkeypatch, tmp_path_factory):
    table = tmp_path_factory.mktemp("afar") / "t.csv"
    table.write_text("a,b,y\n" + "".join(f"{n % 9},{n % 7},{n % 2}\n" for n in range(40)))
    data = {"name": f"csv:{table}", "target": "y"}
    task = {"name": "classification", "dataset": data, "batch_size": "full"}
    iox.run(NETWORK | {"task": task}, "s", devices=1)
    assert verify("s", devices=1).exit_code == 0
    monkeypatch.setenv("XDG_STATE_HOME", str(working_dir / "another-account"))
    with pytest.raises(iox.StudyError, match=rf"not made by you.*read {table}.*--trust"):
        verify("s", devices=1)
    assert verify("s", devices=1, trust=True).exit_code == 0


def test_marks_are_of_one_account_and_of_all_that_could_run(monkeypatch, tmp_path):
    manifest = {"config": {"a": 1, "landscapes": []}, "sources": {"m": {"sha256": "0"}}}
    marked = manifest | {"mark": maker.mark(manifest)}
    assert maker.is_own(marked)
    assert maker.is_own(marked | {"config": {"a": 1, "landscapes": ["slice"]}})
    for changed in (
        {"config": {"a": 2}}, {"sources": {"m": {"sha256": "1"}}}, {"sources": {}},
        {"data_root": "/etc"}, {"mark": None}, {"mark": "0" * 64}, {"sources": [1]},
    ):  # fmt: skip
        assert not maker.is_own(marked | changed)
    assert maker.key_file().stat().st_mode & 0o077 == 0
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert not maker.is_own(marked)
    assert not maker.key_file().exists(), "reading makes no key"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert maker.mark(manifest) is None


@pytest.mark.parametrize("place", ["figures", ".lock", "results.zarr/val_loss", "manifest.json"])
def test_a_folder_with_a_way_out_is_not_read(project, tmp_path, place):
    folder = project / "runs" / "own"
    target = tmp_path / "precious"
    (folder / place).rename(target) if (folder / place).exists() else target.touch()
    (folder / place).symlink_to(target)
    calls = (
        lambda: iox.open_study(folder),
        lambda: verify(folder, devices=1),
        lambda: iox.run(CONFIG, folder, devices=1),
    )
    for call in calls:
        with pytest.raises(iox.StudyError, match=rf"'{place}' is a link to .*precious, outside"):
            call()
    assert target.exists()
    assert not (project / "it-ran").exists()


def test_a_new_study_is_not_written_through_a_link(own, working_dir):
    (working_dir / "precious").mkdir()
    (working_dir / "out").mkdir()
    (working_dir / "out" / "results.zarr").symlink_to(working_dir / "precious")
    with pytest.raises(iox.StudyError, match=r"'results\.zarr' is a link to .*precious"):
        iox.run(CONFIG, "out", devices=1)
    assert not list((working_dir / "precious").iterdir())


def test_pipes_and_old_arrays_in_a_folder_are_not_read(project):
    folder = project / "runs" / "own"
    (folder / "results.zarr" / "val_loss" / ".zarray").write_text("{}")
    with pytest.raises(iox.StudyError, match="Zarr's format 2"):
        iox.open_study(folder)
    (folder / "results.zarr" / "val_loss" / ".zarray").unlink()
    os.mkfifo(folder / "results.zarr" / "pipe")
    with pytest.raises(iox.StudyError, match="is a pipe"):
        iox.open_study(folder)
    (folder / "results.zarr" / "pipe").unlink()
    (folder / "here").symlink_to("lanes.csv")
    assert len(iox.open_study(folder).summary()) == 1


@pytest.mark.parametrize(
    "sources_",
    [{"mine": 3}, [1], "mine", {"mine": {"sha256": "0"}}, {"mine": {"file": 5, "sha256": "0"}},
     {"mine": {"file": "x" * 5000, "sha256": "0"}}, {"mine": {"file": "a\0b", "sha256": "0"}},
     {"mine": {"file": "/dev/zero", "sha256": "0"}}],
)  # fmt: skip
def test_records_of_files_that_are_none(project, sources_):
    change(project, sources=sources_)
    folder = project / "runs" / "own"
    with pytest.raises(iox.StudyError, match=r"sources are no files|is not there any more"):
        verify(folder, devices=1)
    with importable_from(project), pytest.raises(iox.StudyError, match=r"are no files|other code"):
        iox.run(CONFIG, folder, devices=1)
    assert len(iox.open_study(folder).summary()) == 1
    assert not (project / "it-ran").exists()


@pytest.mark.parametrize("function", [[1], {"name": 3}, {"name": "mine:bowl"}, "mine:bowl"])
def test_records_of_functions_that_are_none(project, function):
    change(project, function=function)
    with pytest.raises(iox.StudyError, match=r"manifest .* is damaged"):
        iox.open_study(project / "runs" / "own").report()
    assert not (project / "it-ran").exists()
