"""Handwritten digits bundled with scikit-learn: small, always at hand."""

import numpy as np

from initopt_jax.data.finish import finish
from initopt_jax.data.notes import About
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.types import Dataset

_LARGEST = 16.0  # a pixel counts the dark ones among 4 x 4


def load_digits(request: Request) -> Dataset:
    """1,797 pictures of 8 x 8 pixels, 10 classes; inputs [N, 64] in [0, 1] before normalization.

    Args:
        request: name, kind, split and the common options.

    Returns:
        The data set.

    Reference: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI repository
        (its test part).

    >>> from initopt_jax.data.split import SplitSpec
    >>> digits = load_digits(Request("digits", "classification", SplitSpec()))
    >>> digits.train.inputs.shape, digits.outputs
    ((1078, 64), 10)
    """
    import sklearn.datasets  # half a second to import

    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    about = About(classes=tuple("0123456789"), pixel_unit=_LARGEST)
    inputs = np.asarray(pixels, np.float32) / np.float32(_LARGEST)
    return finish(request, inputs, labels, about=about)


ENTRY = DatasetSource(
    name="digits",
    load=load_digits,
    kinds=("classification",),
    description="1,797 handwritten digits of 8 x 8 pixels, 10 classes",
    reference="Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits (UCI)",
)
