"""Operations by closed forms: products exactly, the rest within a stated number for each entry."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from initopt_jax import transforms
from initopt_jax.engine.flops import step_operations
from initopt_jax.engine.operations import Operations, operations
from initopt_jax.studies.preview import prepare

DATA = """
import numpy as np

from initopt_jax.types import Dataset, Split


def made(shape):
    inputs = np.zeros((64, *shape), np.float32)
    split = Split(inputs, (np.arange(64) % 10).astype(np.int32))
    return Dataset("made", "classification", split, split, split, outputs=10, fingerprint="")


def pictures(side=32, channels=3):
    return made((side, side, channels))


def sequences(length=32, features=8):
    return made((length, features))
"""


def array(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


def both_ways(function):
    """Its outputs and the gradients of all arguments."""

    def run(cotangent, *arguments):
        made, pull = jax.vjp(function, *arguments)
        return made, pull(cotangent)

    return run


def test_dense_layers_and_their_gradients_cost_three_times_as_much():
    """A chain of linear layers has nothing but products: the factor is 3 exactly."""

    def chain(inputs, *kernels):
        for kernel in kernels:
            inputs = inputs @ kernel
        return inputs

    shapes = array(32, 64), array(64, 48), array(48, 16), array(16, 10)
    forward = 2 * 32 * (64 * 48 + 48 * 16 + 16 * 10)
    assert operations(chain, *shapes) == Operations(forward, 0)
    assert operations(both_ways(chain), array(32, 10), *shapes) == Operations(3 * forward, 0)
    of_kernels = operations(
        lambda x, ws: jax.grad(lambda ws: chain(x, *ws).sum())(ws), shapes[0], shapes[1:]
    )
    assert of_kernels.count == 3 * forward - 2 * 32 * (64 * 48 + 16 * 10)  # no result needs these


def pairs(size, taps, stride, padding, hole, gap):
    """Outputs of one axis and what they multiply, counted one by one."""
    long, reach = (size - 1) * hole + 1, (taps - 1) * gap + 1
    outputs = (long + sum(padding) - reach) // stride + 1
    places = (
        o * stride + k * gap - padding[0] for o, k in itertools.product(range(outputs), range(taps))
    )
    return outputs, sum(0 <= place < long and place % hole == 0 for place in places)


@pytest.mark.parametrize(
    ("stride", "padding", "hole", "gap", "groups"),
    [
        (1, (0, 0), 1, 1, 1),
        (1, (1, 1), 1, 1, 1),
        (2, (1, 1), 1, 1, 2),
        (1, (2, 2), 1, 2, 1),
        (2, (0, 3), 1, 2, 4),
        (1, (2, 1), 2, 1, 1),
        (3, (2, 2), 3, 1, 4),
    ],
)
def test_convolutions_count_what_is_multiplied(stride, padding, hole, gap, groups):
    """Padding and zeros between pixels multiply nothing; each gradient costs the same."""
    size, taps, channels, features, batch = (9, 7), (3, 2), 4, 8, 5

    def convolve(pictures, kernel):
        return lax.conv_general_dilated(
            pictures,
            kernel,
            (stride, stride),
            (padding, padding),
            lhs_dilation=(hole, hole),
            rhs_dilation=(gap, gap),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    axes = [pairs(n, k, stride, padding, hole, gap) for n, k in zip(size, taps, strict=True)]
    expected = 2 * batch * channels // groups * features * axes[0][1] * axes[1][1]
    shapes = array(batch, *size, channels), array(*taps, channels // groups, features)
    assert operations(convolve, *shapes).count == expected
    outputs = array(batch, axes[0][0], axes[1][0], features)
    assert operations(both_ways(convolve), outputs, *shapes).count == 3 * expected


def test_attention():
    """Two products of all pairs of positions; eight operations at most for each pair besides."""

    def attend(queries, keys, values):
        scores = jnp.einsum("bqhd,bkhd->bhqk", queries, keys) / np.sqrt(16)
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), values)

    shape = array(2, 24, 3, 16)
    weights = 2 * 3 * 24 * 24
    products = 2 * (2 * weights * 16)
    assert products < operations(attend, shape, shape, shape).count <= products + 8 * weights
    whole = operations(both_ways(attend), shape, shape, shape, shape).count
    assert 3 * products < whole <= 3 * products + 3 * 8 * weights


@pytest.fixture
def counted(working_dir):
    (working_dir / "made_up.py").write_text(DATA)

    def count(dataset, model, optimizer="momentum"):
        config = {
            "name": "counted",
            "task": {"name": "classification", "dataset": f"made_up:{dataset}", "batch_size": 64},
            "model": model,
            "initializers": ["he_normal"],
            "optimizers": [{"name": optimizer, "learning_rate": 0.1}],
            "seeds": 1,
            "tuning": {"seeds": 0},
            "steps": 2,
        }
        known = prepare(config)
        return step_operations(known.programs[0], known.workload).count

    return count


def test_every_form_of_a_convolution_counts_the_same(counted):
    """Three times the products, but the first layer's: its inputs need no gradient."""
    first = 94**2 * 3 * 16  # of 96 rows of three taps in 32 rows of pixels two lie in the padding
    rest = 46**2 * 16 * 32 + 8 * 8 * 32 * 64 + 64 * 10
    products = 2 * 64 * (2 * first + 3 * rest)
    found = [
        counted(
            "pictures", {"name": "cnn", "channels": [16, 32], "hidden": [64], "convolution": form}
        )
        for form in ("auto", "stock", "patches")
    ]
    assert products < found[0] < 1.03 * products
    assert found == found[:1] * 3


def test_a_loop_over_a_sequence_counts_every_step(counted):
    """An LSTM of 64 units over 32 steps: the recurrent products alone are 201 million."""
    inputs, recurrent, head = 32 * 8 * 4 * 64, 32 * 64 * 4 * 64, 64 * 10
    products = 2 * 64 * (2 * inputs + 3 * recurrent + 3 * head)
    assert 2 * 64 * 3 * recurrent == 201_326_592
    assert products < counted("sequences", {"name": "lstm", "hidden": 64}) < 1.05 * products


def slope(make, shapes=((50,), (150,))):
    """Operations of an update for each weight."""
    counts = []
    for shape in shapes:
        transform = make()
        leaf = array(*shape)
        state = jax.eval_shape(transform.init, leaf)
        update = transform.update
        counts.append(operations(update, leaf, state, leaf).count)
    return (counts[1] - counts[0]) / (np.prod(shapes[1]) - np.prod(shapes[0]))


def test_optimizers_by_the_operations_of_their_formulas():
    """For each weight: `-r g`; `m <- d m + g, -r m`; moments, corrections, root, quotient."""
    assert slope(lambda: transforms.sgd(0.1)) == 1
    assert slope(lambda: transforms.momentum(0.1, 0.9)) == 3
    # m: 3, v: 4 with the square, 2 corrections, root, eps, quotient, rate; whether the root is 0
    # or infinite (2), and the gradient 0
    assert slope(lambda: transforms.adam(0.1)) == 17


def of_update(transform, *shape):
    leaf = array(*shape)
    state = jax.eval_shape(transform.init, leaf)
    return operations(transform.update, leaf, state, leaf)


def test_muon_by_its_five_rounds():
    """Newton and Schulz: `A = X X^T`, `A A` and `B X` for [m, n], m < n, in each round."""
    m, n = 24, 40
    products = 5 * (2 * m * m * n + 2 * m**3 + 2 * m * m * n)
    found = of_update(transforms.muon(0.1), m, n)
    assert found.open_loops == 0
    assert products < found.count < products + 60 * m * n


def test_shampoo_by_its_products():
    """Two squares, two roots, two products with them; a root is as many rounds as it takes.

    A round is four products: with `T`, `T^2`, `T^4`, and `T^4` with `M`. The open loop counts one
    round; three follow, the last of which needs no `M`.
    """
    n = 32
    products = 2 * n**3 * (2 + 2 * (4 * 4 - 3) + 2)
    found = of_update(transforms.shampoo(0.1), n, n)
    assert found.open_loops == 2
    assert products < found.count < products + 200 * n * n


def test_soap_by_its_products():
    """Factors, both ways into the bases and back; a QR takes each column twice through the rest."""
    n = 32
    once = 2 * n**3
    qr = 2 * 2 * once  # for n columns twice, a product [n, n] with it and one back
    found = of_update(transforms.soap(0.1), n, n)
    low = 2 * once + 6 * once + 2 * (once + qr)
    assert low < found.count < 1.25 * low + 300 * n * n


def test_loops_and_conditions():
    x = array(100)

    def counting(x):
        return lax.while_loop(lambda c: c[0] < 7, lambda c: (c[0] + 2, c[1] * 2.0), (0, x))

    def asking(x):
        return lax.while_loop(lambda x: jnp.sum(x) > 1.0, lambda x: x / 2, x)

    def branching(x):
        return lax.cond(x[0] > 0, lambda x: jnp.exp(x) * x + x, lambda x: x, x)

    def nested(x):
        return lax.fori_loop(0, 3, lambda i, x: asking(x), x)

    assert operations(counting, x) == Operations(400, 0)
    assert operations(asking, x) == Operations(100 + 99 + 1, 1)
    assert operations(branching, x).count == 300 + 1
    assert operations(nested, x) == Operations(3 * 200, 1)
    assert operations(jax.checkpoint(lambda x: x * 2), x) == Operations(100, 0)
    assert operations(jax.jit(lambda x: x * 2), x) == Operations(100, 0)


def test_what_is_no_arithmetic_counts_nothing():
    def moved(x, keys):
        drawn = jax.random.bits(keys, (20,))
        taken = jnp.where(drawn > 7, x[:20], x[20:40]).reshape(4, 5).T.astype("bfloat16")
        return jnp.concatenate([taken, taken]), jnp.arange(3) + 1

    key = jax.eval_shape(lambda: jax.random.key(0))
    assert operations(moved, array(40), key) == Operations(0, 0)


def test_factorizations_by_their_leading_terms():
    n = 12
    assert operations(jnp.linalg.eigh, array(3, n, n)).count >= 3 * 9 * n**3
    assert operations(jnp.linalg.cholesky, array(n, n)).count >= n**3 // 3
    solve = operations(jnp.linalg.solve, array(n, n), array(n, 4)).count
    assert 2 * n**3 // 3 + 2 * n**2 * 4 - 1 <= solve < 2 * n**3 // 3 + 3 * n**2 * 4
    complex_product = operations(jnp.dot, *[array(n, n, dtype="complex64")] * 2)
    assert complex_product.count == 8 * n**3
