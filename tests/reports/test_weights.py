"""Histograms of first weights: what is drawn, and what is written where."""

import numpy as np
import pytest

from initopt_jax.errors import ConfigError
from initopt_jax.reports.render.histograms import Drawn, histograms
from initopt_jax.studies.preview import audit


def networks(count=2, leaves=2):
    random = np.random.default_rng(0)
    return [
        Drawn(
            f"method {number}",
            {f"dense_{i}/kernel": random.normal(size=(8, 4)) for i in range(leaves)}
            | {"dense_0/bias": np.zeros(4)},
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("kind", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_formats(kind, begins):
    assert histograms(networks(), kind).startswith(begins)


def texts(drawn):
    return histograms(drawn, "svg").decode()


def panels(drawn):
    """Panels have one set of axes each."""
    return texts(drawn).count('<g id="axes_')


def test_a_panel_per_initializer_and_leaf_that_varies():
    assert panels(networks(count=3)) == 6  # the bias is 0 everywhere
    everywhere_constant = [Drawn("zeros", {"kernel": np.zeros((3, 2)), "bias": np.zeros(2)})]
    assert panels(everywhere_constant) == 2
    assert panels(networks(count=1, leaves=15)) == 12


def test_many_zeros_and_empty_leaves_are_drawn():
    sparse = np.zeros((20, 20))
    sparse[0] = np.linspace(-1, 1, 20)
    drawn = [Drawn("sparse", {"kernel": sparse, "eye": np.eye(5), "none": np.zeros((0, 3))})]
    assert panels(drawn) == 2


def test_audit_writes_the_picture(small_config, tmp_path):
    rows = audit(small_config, plot=tmp_path / "deep" / "weights.png")
    assert rows
    assert (tmp_path / "deep" / "weights.png").read_bytes().startswith(b"\x89PNG")


def test_another_ending_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(ConfigError, match=r"must end in one of \.png, \.pdf, \.svg"):
        audit(tmp_path / "there_is_no_such.yaml", plot=tmp_path / "weights.gif")
