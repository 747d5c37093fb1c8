"""Performance profiles and places, against cases worked out by hand."""

import numpy as np
import pytest

from initopt_jax.stats import beats, performance_profile, performance_ratios, places, solved_share

NEVER = np.nan
# Four problems, three solvers; the last problem is solved by nobody.
TIMES = np.array(
    [
        [10.0, 20.0, 40.0],
        [30.0, 15.0, NEVER],
        [8.0, 8.0, 24.0],
        [NEVER, NEVER, NEVER],
    ]
)


def test_ratios_are_to_the_fastest_of_each_problem():
    expected = [[1, 2, 4], [2, 1, np.inf], [1, 1, 3], [np.inf] * 3]
    np.testing.assert_array_equal(performance_ratios(TIMES), expected)


def test_profile_counts_unsolved_problems_in_every_share():
    profile = performance_profile(performance_ratios(TIMES), [1, 2, 3, 4, 1e9])
    np.testing.assert_array_equal(profile[:, 0], [0.5, 0.75, 0.75, 0.75, 0.75])
    np.testing.assert_array_equal(profile[:, 1], [0.5, 0.75, 0.75, 0.75, 0.75])
    np.testing.assert_array_equal(profile[:, 2], [0, 0, 0.25, 0.5, 0.5])


def test_starts_that_are_solved_at_once_do_not_make_others_infinitely_slow():
    np.testing.assert_array_equal(performance_ratios([[0.0, 5.0]]), [[1, 5]])


@pytest.mark.parametrize("wrong", [[1.0, 2.0], [[-1.0, 2.0]]])
def test_what_are_no_times_is_refused(wrong):
    with pytest.raises(ValueError, match="times must"):
        performance_ratios(wrong)


def test_without_problems_there_are_no_shares():
    assert np.isnan(performance_profile(np.zeros((0, 2)), [1.0])).all()
    assert np.isnan(solved_share([], [1.0])).all()


def test_five_wins_of_five_decide_and_two_of_two_do_not():
    # Wilson's lower bound for k of k is 1 / (1 + z^2 / k): above one half from k = 4 on.
    five = np.tile([[1.0, 2.0]], (5, 1))
    assert beats(five).tolist() == [[False, True], [False, False]]
    assert not beats(five[:2]).any()


def test_arriving_beats_never_arriving_and_equal_times_decide_nothing():
    won = beats(np.tile([[9.0, NEVER, 9.0]], (20, 1)))
    assert won.tolist() == [[False, True, False], [False, False, False], [False, True, False]]
    assert places(won).tolist() == [1, 3, 1]
