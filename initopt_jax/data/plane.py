"""Classes of points that can be drawn: two moons, spirals, blobs.

Every set has streams of its own for examples and noise: more samples begin with the fewer.
"""

import numpy as np

from initopt_jax.data.finish import finish
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.data.split import require_integer, require_number
from initopt_jax.data.streams import streams
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset


def load_two_moons(
    request: Request, *, samples: int = 1000, noise: float = 0.1, seed: int = 0
) -> Dataset:
    """Two half circles that reach into each other: `(cos a, sin a)`, `(1 - cos a, 1/2 - sin a)`.

    `a` is uniform in [0, pi]; normal noise is added to both coordinates. Classes take turns, so
    that they are of equal size.

    Args:
        request: name, kind, split and the common options.
        samples: number of examples, at least 1.
        noise: standard deviation, at least 0.
        seed: of points and noise, at least 0.

    Returns:
        The data set; inputs [N, 2].

    Raises:
        ConfigError: an option is out of range.

    Reference: Pedregosa et al. 2011, Scikit-learn, JMLR 12 (make_moons).

    >>> from initopt_jax.data.split import SplitSpec
    >>> load_two_moons(Request("two_moons", "classification", SplitSpec())).train.inputs.shape
    (600, 2)
    """
    points, errors = streams(2, samples=samples, numbers=3, seed=seed, noise=noise)
    labels = np.arange(samples) % 2
    angles = points.uniform(0, np.pi, size=samples)
    curve = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    clean = np.where(labels[:, None] == 0, curve, np.array([[1.0, 0.5]]) - curve)
    inputs = clean + noise * errors.normal(size=clean.shape)
    return finish(request, inputs, labels, outputs=2, table=True)


def load_spirals(
    request: Request,
    *,
    samples: int = 1000,
    classes: int = 2,
    turns: float = 1.5,
    noise: float = 0.02,
    seed: int = 0,
) -> Dataset:
    """Interleaved spirals: `r (cos b, sin b)` with `b = 2 pi (turns r + k / K)` for class k of K.

    `r` is uniform in [0.1, 1]; normal noise is added to both coordinates. Classes take turns, so
    that they are of equal size.

    Args:
        request: name, kind, split and the common options.
        samples: number of examples, at least 1.
        classes: arms K, at least 2.
        turns: turns of an arm from the centre to radius 1, at least 0.
        noise: standard deviation, at least 0.
        seed: of points and noise, at least 0.

    Returns:
        The data set; inputs [N, 2].

    Raises:
        ConfigError: an option is out of range.

    Reference: Lang & Witbrock 1988, Learning to tell two spirals apart, Connectionist Models Summer
        School. Deviations: random radii, noise, any number of arms; theirs has 3 turns.

    >>> from initopt_jax.data.split import SplitSpec
    >>> arms = load_spirals(Request("spirals", "classification", SplitSpec()), classes=3)
    >>> arms.train.inputs.shape, arms.outputs
    ((600, 2), 3)
    """
    points, errors = streams(2, samples=samples, numbers=3, seed=seed, noise=noise)
    require_integer("classes", classes, least=2)
    _require_fewer(classes, samples)
    require_number("turns", turns, least=0)
    labels = np.arange(samples) % classes
    radii = points.uniform(0.1, 1, size=samples)
    angles = 2 * np.pi * (turns * radii + labels / classes)
    clean = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inputs = clean + noise * errors.normal(size=clean.shape)
    return finish(request, inputs, labels, outputs=classes, table=True)


def _require_fewer(classes: int, samples: int) -> None:
    """Refuse classes that no sample could have."""
    if classes > samples:
        raise ConfigError(f"classes must be at most samples ({samples}), got {classes}")


def load_blobs(
    request: Request,
    *,
    samples: int = 1000,
    classes: int = 3,
    features: int = 2,
    spread: float = 0.3,
    seed: int = 0,
) -> Dataset:
    """Normal classes of one spread: `x = c_k + spread e`, with standard normal centres `c_k`.

    Classes take turns, so that they are of equal size. Another number of samples keeps the centres.

    Args:
        request: name, kind, split and the common options.
        samples: number of examples, at least 1.
        classes: number of blobs, at least 2.
        features: number of coordinates, at least 1.
        spread: standard deviation within a blob, at least 0.
        seed: of centres and points, at least 0.

    Returns:
        The data set; inputs [N, features].

    Raises:
        ConfigError: an option is out of range.

    Reference: Bishop 2006, Pattern Recognition and Machine Learning, section 4.2.1 (normal classes
        with a common covariance, whose best borders are linear).

    >>> from initopt_jax.data.split import SplitSpec
    >>> load_blobs(Request("blobs", "classification", SplitSpec()), features=5).train.inputs.shape
    (600, 5)
    """
    require_integer("classes", classes, least=2)
    require_integer("features", features, least=1)
    require_number("spread", spread, least=0)
    middles, errors = streams(2, samples=samples, numbers=features + 1, seed=seed)
    _require_fewer(classes, samples)
    labels = np.arange(samples) % classes
    centres = middles.normal(size=(classes, features))
    inputs = centres[labels] + spread * errors.normal(size=(samples, features))
    return finish(request, inputs, labels, outputs=classes, table=True)


ENTRIES = (
    DatasetSource(
        name="two_moons",
        load=load_two_moons,
        kinds=("classification",),
        description="two half circles that reach into each other; `samples`, `noise`, `seed`",
        reference="Pedregosa et al. 2011, Scikit-learn (make_moons)",
    ),
    DatasetSource(
        name="spirals",
        load=load_spirals,
        kinds=("classification",),
        description="interleaved spirals; `samples`, `classes`, `turns`, `noise`, `seed`",
        reference="Lang & Witbrock 1988, Learning to tell two spirals apart",
    ),
    DatasetSource(
        name="blobs",
        load=load_blobs,
        kinds=("classification",),
        description="normal classes of one spread; `samples`, `classes`, `features`, `spread`, "
        "`seed`",
        reference="Bishop 2006, Pattern Recognition and Machine Learning, 4.2.1",
    ),
)
