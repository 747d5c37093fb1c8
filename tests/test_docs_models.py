"""What the page on models tells the reader to write works as written."""

import re
import sys

import pytest
import yaml

import initopt_jax as iox
from initopt_jax.conformance import check
from initopt_jax.preview import audit, prepare


@pytest.fixture
def page(repository):
    return (repository / "docs" / "your_own_model.md").read_text()


@pytest.fixture
def tutorial(page, working_dir, monkeypatch):
    """The files of the page, in the folder where we stand; its configs, each model in the whole."""
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        name = code.splitlines()[0].removeprefix("# ")
        (working_dir / name).write_text(code)
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.syspath_prepend(working_dir)
    whole, *parts = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL))
    return [whole, *(whole | part for part in parts)]


def test_models_of_the_page_keep_their_promises(tutorial):
    for config in tutorial:
        name, *options = config["model"].items()
        findings = check(name[1], dict(options))
        assert [finding for finding in findings if finding.outcome != "ok"] == []
        assert findings[1].reason.startswith("digits as vectors [64]")


def test_models_of_the_page_can_be_studied(tutorial):
    first, *others = tutorial
    assert {row.verdict for row in audit(first | {"initializers": ["lecun_normal"]})} == {"ok"}
    for config in others:
        assert prepare(config).model_state
    short = {"initializers": ["he_normal"], "seeds": 1, "tuning": {"seeds": 1}, "steps": 40}
    adam = [{"name": "adam", "learning_rate": 0.01}]
    study = iox.run(others[1] | short | {"optimizers": adam, "eval_every": 20}, "study", devices=1)
    # chance is a tenth; the largest class has less than an eighth of the pictures
    assert float(study.dataset["val_accuracy"].isel(eval=-1).min()) > 0.5


def test_twenty_lines(page):
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        assert len([line for line in code.splitlines() if line.strip()]) <= 21
