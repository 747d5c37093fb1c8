"""The race on classic functions: places on made-up numbers, and a small real run."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import classics
from experiments.classics_page import Entrant, Field, cell, page, place_text, sentences
from initopt_jax.errors import ConfigError

OWN = '''
import jax
import jax.numpy as jnp
import optax


def sign_step(learning_rate):
    """p <- p - learning_rate * sign(g)."""

    def update(updates, state, params=None):
        return jax.tree.map(lambda g: -learning_rate * jnp.sign(g), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def rateless():
    """p <- p - g / 100."""
    return optax.sgd(0.01)
'''


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 40), "#0072B2").save(file, format="PNG")
    return file.getvalue()


def entrant(function: str, times: Any) -> Entrant:
    return Entrant(
        function, "f = x", "loss ≤ 1", ("quick", "slow", "mine"), ("rate 1",) * 3,
        np.array(times, float), picture(), f"{function}/report.html",
    )  # fmt: skip


def field() -> Field:
    """Ten starts on which mine ties with quick, and six of a function that mine never solves."""
    return Field.of(
        [
            entrant("bowl", [[10.0, 20.0, 10.0]] * 10),
            entrant("ravine", [[10.0, 15.0, np.nan]] * 6),
        ]
    )


def test_places_within_functions_and_over_all_problems():
    found = field()
    assert [place.tolist() for place in found.places] == [[1, 3, 1], [1, 2, 3]]
    # Mine against slow: 10 wins of 16, which chance explains.
    assert found.overall.tolist() == [1, 2, 2]
    assert [place_text(found.overall, row) for row in range(3)] == ["1", "2=", "2="]
    np.testing.assert_allclose(found.solved, [1, 1, 10 / 16])
    np.testing.assert_allclose(found.within, [1, 1, 10 / 16])
    assert cell(found.studies[1], 1) == "100% · 15"
    assert cell(found.studies[1], 2) == "0% · –"


def test_the_sentence_on_ones_own_transform():
    (text,) = sentences(field(), ["mine"])
    assert text.startswith("mine takes place 2= of 3 over 16 problems: it solved 62% of them")
    assert "slower than quick" in text
    assert "It cannot be told apart from slow." in text
    assert text.endswith("Its best place: 1, on bowl; its worst place: 3, on ravine.")
    (leader,) = sentences(field(), [])
    assert leader.startswith("quick takes place 1 of 3")


def test_page_is_one_file_with_links_to_the_reports():
    html = page(field(), ["mine"], 60).decode()
    assert re.findall(r'<img src="([^"]{0,22})', html) == ["data:image/png;base64,"] * 2
    assert 'href="bowl/report.html"' in html
    assert '<tr class="own"><td>mine' in html
    assert not re.search(r'(src|href)="(?:https?:)?//', html.partition("<script>")[0])
    nobody = Field.of([entrant("bowl", [[np.nan] * 3] * 4)])
    assert "Performance profiles" not in page(nobody, [], 60).decode()


def test_every_classic_gets_the_same_rates_and_a_target():
    entries = classics.optimizer_entries(classics.FULL, [], [])
    assert {tuple(entry["learning_rate"]) for entry in entries.values()} == {classics.RATES}
    for function in classics.FUNCTIONS:
        config = classics.study_config(function, classics.FULL, entries)
        assert config["target"]["at_most"] in (-1.0, 1e-3, 1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rates", "0.1"], "there is none"),
        (["--with", "own_race:sign_step", "--rates", "0.1,x"], "positive numbers"),
        (["--with", "own_race:rateless", "--rates", "0.1"], "takes no learning_rate"),
        (["--with", "own_race:missing"], "missing"),
        (["--with", "adam"], "already the name"),
        (["--functions", "himmelblua"], "did you mean 'himmelblau'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(working_dir: Path, capsys, arguments, message):
    (working_dir / "own_race.py").write_text(OWN)
    assert classics.main(["--fast", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (working_dir / "runs").exists()


def test_a_transform_without_a_rate_has_no_axis(working_dir: Path):
    (working_dir / "own_race_too.py").write_text(OWN)
    with classics.importable_from(working_dir):
        entries = classics.optimizer_entries(classics.FAST, ["own_race_too:rateless"], [])
        assert "learning_rate" not in entries["rateless"]
        with pytest.raises(ConfigError, match="already the name"):
            classics.optimizer_entries(classics.FAST, ["own_race_too:rateless"] * 2, [])


def test_fast_race_with_ones_own_transform(working_dir: Path, capsys):
    (working_dir / "own_sign.py").write_text(OWN)
    code = classics.main(
        ["--fast", "--functions", "ravine", "--with", "own_sign:sign_step", "--rates", "0.03,0.1"]
    )
    assert code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "sign_step takes place" in shown
    out = working_dir / "runs" / "classics_fast"
    html = (out / "index.html").read_text(encoding="utf-8")
    assert '<tr class="own"><td>sign_step' in html
    assert (out / "ravine" / "report.html").is_file()
    assert (out / "ravine" / "figures" / "motion.gif").read_bytes().startswith(b"GIF89a")
