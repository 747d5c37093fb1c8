"""Ctrl-C and SIGTERM at any moment: exit code 3, and what is taken up ends with the same bytes."""

import random

MOMENTS = 3  # of each signal; `make fuzz` tries hundreds


def test_signals_stop_a_study_that_goes_on_to_the_same_bytes(
    zygote, tmp_path, tiny_config, assert_same_as_undisturbed
):
    dice = random.Random(0)
    study, log = tmp_path / "study", tmp_path / "log"
    arguments = ("run", tiny_config, "--out", study, "--devices", 1)
    for signal in ("SIGINT", "SIGTERM") * MOMENTS:
        kill = {"signal": signal, "event": dice.randint(1, 60), "times": dice.choice([1, 1, 2, 3])}
        kill["delay"] = dice.choice([0, 0.005])
        status = zygote.live(study, log, *arguments, kill=kill)
        errors = log.with_suffix(".err").read_text()
        assert status in (0, 3), (kill, errors)
        assert "Traceback" not in errors
        assert status == 0 or ("\nstopped: " in f"\n{errors}" and "again" in errors), errors
    assert zygote.live(study, log, *arguments) == 0
    assert_same_as_undisturbed(study)
