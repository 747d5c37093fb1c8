"""Intervals against hand-written formulas, SciPy and tables."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from initopt_jax.stats import (
    mean_interval,
    mean_intervals,
    paired_difference,
    reach_medians,
    wilson_interval,
)
from initopt_jax.stats.intervals import within_bounds
from initopt_jax.tasks.metrics import bounds_of


def test_mean_intervals_match_scipy_group_by_group():
    draw = np.random.default_rng(1)
    groups = draw.permutation(np.repeat([3, 1, 2], [4, 7, 10]))
    values = draw.normal(size=21) + groups
    table = mean_intervals(values, groups)
    assert table.index.tolist() == [1, 2, 3]
    for group in (1, 2, 3):
        own = values[groups == group]
        low, high = scipy_stats.t.interval(0.95, len(own) - 1, own.mean(), scipy_stats.sem(own))
        row = table.loc[group]
        np.testing.assert_allclose(
            row[["mean", "low", "high"]].astype(float), [own.mean(), low, high]
        )
        np.testing.assert_allclose(row["sd"], own.std(ddof=1))


def test_mean_leaves_out_what_is_not_finite_and_counts_the_rest():
    table = mean_intervals([1.0, np.nan, 3.0, np.inf, np.nan], [0, 0, 0, 0, 1])
    assert table["n"].tolist() == [2, 0]
    assert table.loc[0, "mean"] == 2.0
    assert np.isnan(table.loc[1, "mean"])


def test_one_value_has_a_mean_and_no_interval():
    interval = mean_interval([2.5])
    assert (interval.mean, interval.n) == (2.5, 1)
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)
    assert not interval.excludes_zero


def test_empty_group_gives_nan():
    assert mean_interval([]).n == 0


def test_unrepeated_seeds_leave_the_plain_interval():
    values, seeds = [0.3, 0.1, 0.7, 0.4], [5, 6, 7, 8]
    plain = mean_interval(values)
    assert mean_interval(values, init_seed=seeds, data_seed=seeds) == plain
    one_axis = mean_interval(values, init_seed=[5, 5, 5, 5], data_seed=seeds)
    assert one_axis == plain


def test_crossed_design_by_hand():
    # Rows are init seeds, columns data seeds. Variance: s^2(row means)/3 + s^2(column means)/2.
    table = np.array([[1.0, 2.0], [3.0, 5.0], [8.0, 9.0]])
    rows, columns = table.mean(1), table.mean(0)
    parts = rows.var(ddof=1) / 3, columns.var(ddof=1) / 2
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1)
    half = scipy_stats.t.ppf(0.975, freedom) * np.sqrt(sum(parts))
    init, data = np.indices(table.shape)
    found = mean_interval(table.ravel(), init_seed=init.ravel(), data_seed=data.ravel())
    np.testing.assert_allclose(found, [table.mean(), table.mean() - half, table.mean() + half, 6])


def test_crossed_design_covers_where_the_plain_interval_does_not():
    # 400 crossed 5 x 5 tables with strong init and data effects, all with true mean 0. A share of
    # 0.95 has a standard error of sqrt(0.95 * 0.05 / 400) = 0.011: four of them are 0.044.
    draw = np.random.default_rng(0)
    init, data = (axis.ravel() for axis in np.indices((5, 5)))
    many = 400
    effects = draw.normal(size=(many, 5))[:, init] + draw.normal(size=(many, 5))[:, data]
    values = (effects + 0.3 * draw.normal(size=(many, 25))).ravel()
    groups = np.repeat(np.arange(many), 25)
    honest = mean_intervals(
        values, groups, init_seed=np.tile(init, many), data_seed=np.tile(data, many)
    )
    plain = mean_intervals(values, groups)
    covered = ((honest["low"] < 0) & (honest["high"] > 0)).mean()
    naive = ((plain["low"] < 0) & (plain["high"] > 0)).mean()
    assert covered > 0.95 - 0.044
    assert naive < 0.75


def test_equal_means_of_a_crossed_design_do_not_hide_that_values_differ():
    init, data = (axis.ravel() for axis in np.indices((2, 2)))
    found = mean_interval([0.0, 1.0, 1.0, 0.0], init_seed=init, data_seed=data)
    assert found.low < 0.5 < found.high


def test_within_bounds_is_wilsons_interval_for_a_share():
    # Of n trials the t interval's half is z sqrt(p (1 - p) / n): then the two are one formula.
    z = scipy_stats.norm.ppf(0.975)
    for count, n in ((1, 10), (5, 10), (97, 100)):
        share = count / n
        ends = within_bounds(share, z * np.sqrt(share * (1 - share) / n), (0.0, 1.0))
        np.testing.assert_allclose(ends, wilson_interval(count, n), rtol=1e-12)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, np.inf), (-np.inf, 1.0), (-1.0, 1.0)])
def test_ends_solve_their_equation_and_stay_inside(bounds):
    low_bound, high_bound = bounds
    mean = np.array([0.001, 0.3, 0.762, 0.9999])
    half = np.array([1e-6, 0.02, 1.985, 500.0])[:, None]

    def variance(m):
        low = m - low_bound if np.isfinite(low_bound) else 1.0
        return low * (high_bound - m if np.isfinite(high_bound) else 1.0)

    for end in within_bounds(mean, half, bounds):
        assert (end >= low_bound).all()
        assert (end <= high_bound).all()
        # Near a bound the rounding of `bound - end` decides: an end is right to 1e-12 at least.
        slope = np.abs(2 * (end - mean)) + half**2 / variance(mean) * 2
        error = (mean - end) ** 2 - half**2 * variance(end) / variance(mean)
        assert (np.abs(error) <= 1e-12 * (1 + slope * (1 + np.abs(end)))).all()
    low, high = within_bounds(mean, half, bounds)
    assert (low < mean).all()
    assert (high > mean).all()


def test_far_bounds_leave_the_t_interval():
    low, high = within_bounds(0.5, 1e-4, (-1e3, 1e3))
    np.testing.assert_allclose([low, high], [0.5 - 1e-4, 0.5 + 1e-4], rtol=1e-9)
    scaled = np.array(within_bounds(97.0, 2.0, (0.0, 100.0)))
    np.testing.assert_allclose(scaled / 100, within_bounds(0.97, 0.02, (0.0, 1.0)), rtol=1e-12)


def test_two_seeds_of_an_accuracy_give_no_impossible_accuracy():
    found = mean_interval([0.918, 0.606], bounds=(0.0, 1.0))  # the t interval: 0.762 +- 1.98
    assert 0 < found.low < 0.606
    assert 0.918 < found.high < 1


def test_a_bound_that_values_break_is_no_bound():
    table = mean_intervals([0.2, 0.4, -0.1, 0.4], [0, 0, 1, 1], bounds=(0.0, np.inf))
    assert table.loc[0, "low"] > 0
    assert table.loc[1, "low"] < -0.1
    assert bounds_of("val_loss", [1.0, -0.1, np.nan]) == (-np.inf, np.inf)
    assert bounds_of("test_r2", [-7.0, 0.3]) == (-np.inf, 1.0)
    assert bounds_of("weight_norm", [0.0, np.inf]) == (0.0, np.inf)


@pytest.mark.parametrize("n", [2, 3, 5, 6, 10])
def test_equal_seeds_are_no_certainty_while_they_are_few(n):
    found = mean_interval([0.1] * n, bounds=(0.0, 1.0))
    # Half of all seeds differ from the median at most: n equal ones happen in 2 (1/2)^n of cases.
    if 2 * 0.5**n > 0.05:
        assert np.isnan([found.low, found.high]).all()
    else:
        assert (found.low, found.high) == (0.1, 0.1)


ACCURACIES = {
    "near 0": (0.02, 200.0),
    "in the middle": (0.5, 10.0),
    "good": (0.97, 200.0),
    "near 1": (0.995, 1000.0),
}


@pytest.mark.parametrize("n", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("kind", ACCURACIES)
def test_coverage_of_bounded_intervals(kind, n):
    # 1,000 studies of n seeds, accuracies from a beta distribution of this mean and precision. A
    # share of 0.95 has a standard error of 0.0069. Below: skewed seeds cost some, fixed at 0.91
    # less four errors before looking. Above: as far as four errors from 0.97.
    mean, precision = ACCURACIES[kind]
    draw = np.random.default_rng(n)
    values = draw.beta(mean * precision, (1 - mean) * precision, (1000, n))
    table = mean_intervals(values.ravel(), np.repeat(np.arange(1000), n), bounds=(0.0, 1.0))
    covered = ((table["low"] <= mean) & (mean <= table["high"])).mean()
    assert 0.91 - 0.028 < covered < 0.97 + 0.022
    assert ((table["low"] >= 0) & (table["high"] <= 1)).all()


@pytest.mark.parametrize("n", [3, 10])
def test_coverage_of_bounded_differences(n):
    # As above: two accuracies near 1 that differ by 0.02, paired.
    draw = np.random.default_rng(n)
    a, b = (draw.beta(m * 200, (1 - m) * 200, (1000, n)) for m in (0.98, 0.96))
    table = mean_intervals((a - b).ravel(), np.repeat(np.arange(1000), n), bounds=(-1.0, 1.0))
    covered = ((table["low"] <= 0.02) & (table["high"] >= 0.02)).mean()
    assert 0.91 - 0.028 < covered < 0.97 + 0.022


def test_wilson_against_scipy():
    counts = np.array([0, 1, 5, 10])
    low, high = wilson_interval(counts, 10)
    for place, count in enumerate(counts):
        expected = scipy_stats.binomtest(int(count), 10).proportion_ci(method="wilson")
        np.testing.assert_allclose([low[place], high[place]], expected, atol=1e-12)
    assert np.isnan(wilson_interval(0, 0)[0])


def test_paired_difference_is_the_one_sample_t_interval_of_the_differences():
    a, b = np.array([3.0, 5.0, 9.0, 6.0]), np.array([2.0, 5.5, 6.0, 4.0])
    test = scipy_stats.ttest_rel(a, b).confidence_interval(0.95)
    found = paired_difference(a, b)
    np.testing.assert_allclose(found, [(a - b).mean(), test.low, test.high, 4])


def test_paired_difference_counts_only_whole_pairs():
    found = paired_difference([1.0, np.nan, 3.0], [0.0, 1.0, 1.0])
    assert (found.mean, found.n) == (1.5, 2)


def test_paired_difference_refuses_what_does_not_pair():
    with pytest.raises(ValueError, match=r"a and b must pair up.*\(2,\).*\(3,\)"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("n", "rank"),
    # Ranks of the 95% interval of a median, from published tables of the sign test.
    [(5, None), (6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (20, 6)],
)
def test_median_interval_ranks(n, rank):
    times = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    row = reach_medians(times, np.zeros(n)).iloc[0]
    assert row["median"] == (n + 1) // 2
    if rank is None:
        assert np.isnan(row["low"])
        assert row["high"] == np.inf
    else:
        assert (row["low"], row["high"]) == (rank, n + 1 - rank)


def test_censored_medians():
    never = np.nan
    times = [30, 60, never, never] + [30, never, never] + [never] * 3
    table = reach_medians(times, [0] * 4 + [1] * 3 + [2] * 3)
    assert table.loc[0, "median"] == 60  # half of them reached it by 60
    assert table.loc[[1, 2], "median"].isna().all()
    eight = reach_medians([10, 20, 30, 40, 50, never, never, never], np.zeros(8)).iloc[0]
    assert (eight["median"], eight["low"], eight["high"]) == (40, 10, np.inf)
