"""Regression on known functions: a Chebyshev polynomial, Friedman's surface, made-up houses."""

import numpy as np
from scipy.special import ndtr

from initopt_jax.data.arrays import from_splits
from initopt_jax.data.finish import cut, finish
from initopt_jax.data.notes import About
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.data.split import require_integer
from initopt_jax.data.streams import require_room, streams
from initopt_jax.types import Dataset, Split


def load_chebyshev(request: Request, *, points: int = 20, degree: int = 5) -> Dataset:
    """`T_n(x) = cos(n arccos x)` at equally spaced points of [-1, 1], both ends included.

    Validation and test lie between the training points: at 1/3 and at 2/3 of every gap. Nothing is
    random; the split's shares have no effect, and its seed orders the training points.

    Args:
        request: name, kind, split and the common options; `normalize` is false by default.
        points: training points, at least 2.
        degree: n, at least 1.

    Returns:
        The data set; inputs [N, 1], targets [N, 1] in [-1, 1].

    Raises:
        ConfigError: an option is out of range.

    Reference: Cohen, Kaur, Li, Kolter & Talwalkar 2021, Gradient descent on neural networks
        typically occurs at the edge of stability, ICLR (the toy task with 20 points). Deviation:
        they train only; validation and test points are ours.

    >>> from initopt_jax.data.split import SplitSpec
    >>> curve = load_chebyshev(Request("chebyshev", "regression", SplitSpec()))
    >>> len(curve.train.inputs), len(curve.val.inputs), len(curve.test.inputs)
    (20, 19, 19)
    """
    require_integer("points", points, least=2)
    require_integer("degree", degree, least=1)
    require_room(points, 6, "points")
    grid = np.linspace(-1, 1, points)
    order, _, _ = cut(request, points, with_val=False, with_test=False)
    places = (
        grid[order],
        (2 * grid[:-1] + grid[1:]) / 3,
        (grid[:-1] + 2 * grid[1:]) / 3,
    )
    parts = [Split(x[:, None], np.cos(degree * np.arccos(x))) for x in places]
    options = {"normalize": request.normalize, "about": About(shuffled=True)}
    return from_splits(request.name, *parts, kind=request.kind, **options)


def load_friedman(
    request: Request, *, samples: int = 1000, noise: float = 1.0, seed: int = 0
) -> Dataset:
    """`y = 10 sin(pi x1 x2) + 20 (x3 - 1/2)^2 + 10 x4 + 5 x5 + noise e`; x6 to x10 do not matter.

    `x` is uniform in [0, 1]^10 and `e` standard normal, so that no prediction has a mean squared
    error below `noise^2` in the units of `y`. Inputs and noise have streams of their own.

    Args:
        request: name, kind, split and the common options.
        samples: number of examples, at least 1.
        noise: standard deviation, at least 0.
        seed: at least 0.

    Returns:
        The data set; inputs [N, 10], targets [N, 1].

    Raises:
        ConfigError: an option is out of range.

    Reference: Friedman 1991, Multivariate adaptive regression splines, Annals of Statistics 19(1).

    >>> from initopt_jax.data.split import SplitSpec
    >>> surface = load_friedman(Request("friedman", "regression", SplitSpec()))
    >>> surface.train.inputs.shape, surface.train.targets.shape
    ((600, 10), (600, 1))
    """
    examples, errors = streams(2, samples=samples, numbers=11, seed=seed, noise=noise)
    x = examples.uniform(size=(samples, 10))
    clean = (
        10 * np.sin(np.pi * x[:, 0] * x[:, 1])
        + 20 * np.square(x[:, 2] - 0.5)
        + 10 * x[:, 3]
        + 5 * x[:, 4]
    )
    return finish(request, x, clean + noise * errors.normal(size=samples), table=True)


def load_california_like(
    request: Request, *, samples: int = 2000, noise: float = 0.3, seed: int = 0
) -> Dataset:
    """Made-up house prices of eight columns with the meaning and rough range of the census of 1990.

    No census data: with standard normal `z1` to `z8` and their distribution function F, the columns
    are income `exp(1.2 + 0.45 z1)`, age `1 + 51 F(z2)`, rooms `exp(1.65 + 0.25 z3)`, bedrooms
    `rooms (0.2 + 0.02 z4)`, population `exp(7 + 0.7 z5)`, occupancy `exp(1.05 + 0.25 z6)`, latitude
    `32.5 + 9.5 F(z7)` and longitude `-117 - 7.3 F(z7) + 0.8 z8`. The price is

        0.4 income + 0.005 age + 0.1 rooms - 0.5 log(occupancy) + noise e
        + exp(-((latitude - 34)^2 + (longitude + 118.3)^2))
        + 1.2 exp(-2 ((latitude - 37.7)^2 + (longitude + 122.3)^2))

    with `e` standard normal: no prediction has a mean squared error below `noise^2` in its units.
    Columns and noise have streams of their own.

    Args:
        request: name, kind, split and the common options.
        samples: number of examples, at least 1.
        noise: standard deviation, at least 0.
        seed: at least 0.

    Returns:
        The data set; inputs [N, 8], targets [N, 1].

    Raises:
        ConfigError: an option is out of range.

    Reference: the columns' meaning: Pace & Barry 1997, Sparse spatial autoregressions, Statistics &
        Probability Letters 33(3). The formula is our own.

    >>> from initopt_jax.data.split import SplitSpec
    >>> houses = load_california_like(Request("california_like", "regression", SplitSpec()))
    >>> houses.train.inputs.shape, houses.train.targets.shape
    ((1200, 8), (1200, 1))
    """
    examples, errors = streams(2, samples=samples, numbers=9, seed=seed, noise=noise)
    inputs, clean = _houses(examples.normal(size=(samples, 8)).T)
    return finish(request, inputs, clean + noise * errors.normal(size=samples), table=True)


def _houses(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns [N, 8] and prices without noise, from standard normal draws [8, N]."""
    income, rooms, occupancy = np.exp(1.2 + 0.45 * z[0]), np.exp(1.65 + 0.25 * z[2]), 0.25 * z[5]
    age, south_to_north = 1 + 51 * ndtr(z[1]), ndtr(z[6])
    latitude = 32.5 + 9.5 * south_to_north
    longitude = -117 - 7.3 * south_to_north + 0.8 * z[7]
    los_angeles = np.square(latitude - 34) + np.square(longitude + 118.3)
    san_francisco = np.square(latitude - 37.7) + np.square(longitude + 122.3)
    clean = (
        0.4 * income
        + 0.005 * age
        + 0.1 * rooms
        - 0.5 * (1.05 + occupancy)
        + np.exp(-los_angeles)
        + 1.2 * np.exp(-2 * san_francisco)
    )
    columns = [
        income,
        age,
        rooms,
        rooms * (0.2 + 0.02 * z[3]),
        np.exp(7 + 0.7 * z[4]),
        np.exp(1.05 + occupancy),
        latitude,
        longitude,
    ]
    return np.stack(columns, axis=1), clean


ENTRIES = (
    DatasetSource(
        name="chebyshev",
        load=load_chebyshev,
        kinds=("regression",),
        description="a Chebyshev polynomial at equally spaced points; `points`, `degree`",
        reference="Cohen, Kaur, Li, Kolter & Talwalkar 2021, the edge of stability",
        normalize=False,
    ),
    DatasetSource(
        name="friedman",
        load=load_friedman,
        kinds=("regression",),
        description="10 features, of which 5 matter, with a known floor; `samples`, `noise`, "
        "`seed`",
        reference="Friedman 1991, Multivariate adaptive regression splines",
    ),
    DatasetSource(
        name="california_like",
        load=load_california_like,
        kinds=("regression",),
        description="made-up house prices from 8 features by a formula, with a known floor; "
        "`samples`, `noise`, `seed`",
        reference="Pace & Barry 1997 (what the columns mean); the formula is our own",
    ),
)
