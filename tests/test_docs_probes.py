"""What the page on probes tells the reader to write works as written."""

import re
import sys

import numpy as np
import pytest
import yaml

import initopt_jax as iox


@pytest.fixture
def one_program(small_config):
    return small_config | {
        "initializers": ["he_normal"],
        "optimizers": small_config["optimizers"][:1],
    }


@pytest.fixture
def page(repository):
    return (repository / "docs" / "probes.md").read_text()


def test_probes_of_the_page_can_be_taken(page, one_program, working_dir, monkeypatch):
    tutorial = page[page.index("## Your own probe") :]
    (code,) = re.findall(r"```python\n# mine.py\n(.*?)```", tutorial, flags=re.DOTALL)
    (config,) = re.findall(r"```yaml\n(.*?)```", tutorial, flags=re.DOTALL)
    (working_dir / "mine.py").write_text(code)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    study = iox.run(one_program | yaml.safe_load(config))
    far, lowered = study.dataset["far_off"], study.dataset["loss_lowered"].isel(eval=0)
    assert far.dims == ("lane", "eval", "leaf")
    # At the start biases are zero, and of normal weights 4.6% lie beyond two deviations.
    kernels = far.isel(eval=0).sel(leaf=["dense_0/kernel"]).to_numpy()
    assert abs(kernels.mean() - 0.0455) < 0.02
    slow = study.lanes["optimizer.learning_rate"].to_numpy() <= 0.1
    assert (lowered.to_numpy()[slow] > 0).all()
    assert np.isnan(study.dataset["loss_lowered"].isel(eval=1)).all()


def test_the_entries_at_the_head_of_the_page(page, one_program, working_dir):
    entries = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, flags=re.DOTALL)[1])
    study = iox.run(one_program | entries)
    assert {"hessian_top", "spectral_norm", "weight_norm"} <= set(study.dataset)
    assert study.probe("weight_norm", lanes=[0, 1])["weight_norm"].dims == ("lane", "leaf")
    assert "kept_params.dense_0.kernel" in study.kept
    (code,) = re.findall(r"```python\n([^`]*study\.network[^`]*)```", page)
    space = {"study": study}
    exec(code, space)
    said = np.array(space["network"].classes)[np.argmax(space["outputs"], axis=-1)]
    # another program: a tie may be broken otherwise
    assert (said == space["network"].predict(space["pixels"])).mean() > 0.99
