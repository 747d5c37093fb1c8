"""Momentum's, Adagrad's, RMSprop's and Adam's relatives against float64 NumPy, over 1,000 steps.

Each reference is written from the algorithm of its paper, or from the documented update of the
library whose name it carries. What a method remembers is a dict that reads as 0 where nothing was
written; `t` counts from 1.
"""

import numpy as np
import pytest

from initopt_jax import transforms
from tests.transforms.reference import PRECISIONS, Case, assert_follows

# Momentum ----------------------------------------------------------------------------------------


def dampened(theta, g, s, t, learning_rate, decay, dampening):  # torch.optim.SGD
    s["b"] = g if t == 1 else decay * s["b"] + (1 - dampening) * g
    return theta - learning_rate * s["b"]


def growing(t, interval, max_decay):  # Sutskever et al. (2013), eq. 5
    return min(1 - 2 ** (-1 - np.log2(np.floor(t / interval) + 1)), max_decay)


def sutskever(theta, g, s, t, learning_rate, max_decay, interval):  # eq. 1 and 2
    s["v"] = growing(t - 1, interval, max_decay) * s.get("v", 0) - learning_rate * g
    return theta + s["v"]


def sutskever_ahead(theta, g, s, t, learning_rate, max_decay, interval):
    """Eq. 3 and 4, seen from the look-ahead points, where the gradient is taken."""
    before = growing(t - 1, interval, max_decay) * s.get("v", 0)
    s["v"] = before - learning_rate * g
    return theta - before + s["v"] + growing(t, interval, max_decay) * s["v"]


def nesterov_1983(theta, g, s, t, learning_rate):
    """`x_k = y_k - rate * g`, `a' = (1 + sqrt(4 a^2 + 1)) / 2`, `y = x_k + (a - 1) / a' (...)`."""
    a = s.get("a", 1.0)
    after = (1 + np.sqrt(4 * a**2 + 1)) / 2
    x = theta - learning_rate * g
    y = x + (a - 1) / after * (x - s.get("x", theta))
    s["a"], s["x"] = after, x
    return y


def qhm(theta, g, s, t, learning_rate, decay, nu):  # Ma and Yarats (2019), eq. 3 and 4
    s["g"] = decay * s.get("g", 0) + (1 - decay) * g
    return theta - learning_rate * ((1 - nu) * g + nu * s["g"])


def aggmo(theta, g, s, t, learning_rate, scale):  # Lucas et al. (2019), K = 3
    velocities = s.get("v", [0, 0, 0])
    s["v"] = [(1 - scale**i) * v - g for i, v in enumerate(velocities)]
    return theta + learning_rate / 3 * sum(s["v"])


def sign_descent(theta, g, s, t, learning_rate):  # Bernstein et al. (2018), algorithm 1
    return theta - learning_rate * np.sign(g)


def signum(theta, g, s, t, learning_rate, decay):  # algorithm 2
    s["m"] = decay * s.get("m", 0) + (1 - decay) * g
    return theta - learning_rate * np.sign(s["m"])


def lion(theta, g, s, t, learning_rate, b1, b2, weight_decay):  # Chen et al. (2023), program 1
    update = np.sign(b1 * s.get("m", 0) + (1 - b1) * g)
    s["m"] = b2 * s.get("m", 0) + (1 - b2) * g
    return theta - learning_rate * (update + weight_decay * theta)


# Adagrad and RMSprop -----------------------------------------------------------------------------


def adagrad_optax(theta, g, s, t, learning_rate, eps, initial_accumulator):
    s["sum"] = s.get("sum", initial_accumulator) + g**2
    return theta - learning_rate * g / np.sqrt(s["sum"] + eps)


def adagrad_torch(theta, g, s, t, learning_rate, lr_decay, eps, initial_accumulator):
    s["sum"] = s.get("sum", initial_accumulator) + g**2
    rate = learning_rate / (1 + (t - 1) * lr_decay)
    return theta - rate * g / (np.sqrt(s["sum"]) + eps)


def adagrad_full(thetas, gs, s, t, gradients, learning_rate, eps):  # Duchi et al., figure 1
    g = np.concatenate([leaf.ravel() for leaf in gs])
    s["G"] = s.get("G", 0) + np.outer(g, g)
    values, vectors = np.linalg.eigh(s["G"])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    step = np.linalg.solve(eps * np.eye(len(g)) + root, g)
    sizes = np.cumsum([leaf.size for leaf in thetas])[:-1]
    parts = np.split(learning_rate * step, sizes)
    return [leaf - part.reshape(leaf.shape) for leaf, part in zip(thetas, parts, strict=True)]


def graves(theta, g, s, t, learning_rate, decay, momentum, eps):  # Graves (2013), eq. 38 to 41
    s["n"] = decay * s.get("n", 0) + (1 - decay) * g**2
    s["g"] = decay * s.get("g", 0) + (1 - decay) * g
    step = learning_rate * g / np.sqrt(s["n"] - s["g"] ** 2 + eps)
    s["delta"] = momentum * s.get("delta", 0) - step
    return theta + s["delta"]


def make_rmsprop_torch(*, centered):  # torch.optim.RMSprop
    def rmsprop(theta, g, s, t, learning_rate, decay, eps, momentum):
        s["v"] = decay * s.get("v", 0) + (1 - decay) * g**2
        s["g"] = decay * s.get("g", 0) + (1 - decay) * g
        v = s["v"] - s["g"] ** 2 if centered else s["v"]
        s["b"] = momentum * s.get("b", 0) + g / (np.sqrt(v) + eps)
        return theta - learning_rate * s["b"]

    return rmsprop


# Adam --------------------------------------------------------------------------------------------


def moments(g, s, b1, b2):
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    return s["m"], s["v"]


def amsgrad(theta, g, s, t, learning_rate, b1, b2, eps):  # Reddi et al. (2018), algorithm 2
    m, v = moments(g, s, b1, b2)
    s["w"] = np.maximum(s.get("w", 0), v)
    return theta - learning_rate * m / (np.sqrt(s["w"]) + eps)


def amsgrad_torch(theta, g, s, t, learning_rate, b1, b2, eps):  # torch.optim.Adam, amsgrad=True
    m, v = moments(g, s, b1, b2)
    s["w"] = np.maximum(s.get("w", 0), v)
    root = np.sqrt(s["w"]) / np.sqrt(1 - b2**t)
    return theta - learning_rate / (1 - b1**t) * m / (root + eps)


def adamax(theta, g, s, t, learning_rate, b1, b2):  # Kingma and Ba (2015), algorithm 2
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["u"] = np.maximum(b2 * s.get("u", 0), np.abs(g))
    return theta - learning_rate / (1 - b1**t) * s["m"] / s["u"]


def make_nadam(*, torch):  # Dozat (2016), algorithm 2; torch.optim.NAdam
    def nadam(theta, g, s, t, learning_rate, b1, b2, eps, momentum_decay):
        now, after = (b1 * (1 - 0.5 * 0.96 ** (i * momentum_decay)) for i in (t, t + 1))
        s["product"] = s.get("product", 1) * now
        keep = b1 if torch else now
        s["m"] = keep * s.get("m", 0) + (1 - keep) * g
        s["n"] = b2 * s.get("n", 0) + (1 - b2) * g**2
        m = after * s["m"] / (1 - s["product"] * after) + (1 - now) * g / (1 - s["product"])
        n = (1 if torch else b2) * s["n"] / (1 - b2**t)
        return theta - learning_rate * m / (np.sqrt(n) + eps)

    return nadam


def nadam_optax(theta, g, s, t, learning_rate, b1, b2, eps):
    m, v = moments(g, s, b1, b2)
    ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
    return theta - learning_rate * ahead / (np.sqrt(v / (1 - b2**t)) + eps)


def adam_step(g, s, t, b1, b2, eps):
    m, v = moments(g, s, b1, b2)
    return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)


def adamw(theta, g, s, t, learning_rate, b1, b2, eps, weight_decay):
    return theta - learning_rate * (adam_step(g, s, t, b1, b2, eps) + weight_decay * theta)


def adamw_paper(theta, g, s, t, learning_rate, b1, b2, eps, weight_decay, multiplier):
    """Loshchilov and Hutter (2019), algorithm 2, line 12."""
    step = learning_rate * adam_step(g, s, t, b1, b2, eps)
    return theta - multiplier * (step + weight_decay * theta)


def radam(theta, g, s, t, learning_rate, b1, b2, eps):  # Liu et al. (2020), algorithm 2
    m, v = moments(g, s, b1, b2)
    longest = 2 / (1 - b2) - 1
    rho = longest - 2 * t * b2**t / (1 - b2**t)
    m = m / (1 - b1**t)
    if rho <= 4:
        return theta - learning_rate * m
    top, bottom = (rho - 4) * (rho - 2) * longest, (longest - 4) * (longest - 2) * rho
    return theta - learning_rate * np.sqrt(top / bottom) * m / (np.sqrt(v / (1 - b2**t)) + eps)


def adabelief(theta, g, s, t, learning_rate, b1, b2, eps):  # Zhuang et al. (2020), algorithm 2
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["s"] = b2 * s.get("s", 0) + (1 - b2) * (g - s["m"]) ** 2 + eps
    root = np.sqrt(s["s"] / (1 - b2**t))
    return theta - learning_rate * s["m"] / (1 - b1**t) / (root + eps)


def yogi(theta, g, s, t, learning_rate, b1, b2, eps, initial_accumulator):
    """Zaheer et al. (2018), algorithm 2."""
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    v = s.get("v", initial_accumulator)
    s["v"] = v - (1 - b2) * np.sign(v - g**2) * g**2
    return theta - learning_rate * s["m"] / (np.sqrt(s["v"]) + eps)


def novograd(theta, g, s, t, learning_rate, b1, b2, eps, weight_decay):
    """Ginsburg et al. (2019), algorithm 1: the first step starts both moments."""
    norm = np.sum(g**2)
    s["v"] = norm if t == 1 else b2 * s["v"] + (1 - b2) * norm
    scaled = g / (np.sqrt(s["v"]) + eps) + weight_decay * theta
    s["m"] = scaled if t == 1 else b1 * s["m"] + scaled
    return theta - learning_rate * s["m"]


def qhadam(theta, g, s, t, learning_rate, b1, b2, eps, nu1, nu2):  # Ma and Yarats (2019), sec. 4
    m, v = moments(g, s, b1, b2)
    m, v = m / (1 - b1**t), v / (1 - b2**t)
    root = np.sqrt((1 - nu2) * g**2 + nu2 * v)
    return theta - learning_rate * ((1 - nu1) * g + nu1 * m) / (root + eps)


ADAM = {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
T = transforms
CASES = {
    "momentum, dampened": Case(
        T.momentum_dampened, dampened, {"learning_rate": 0.02, "decay": 0.9, "dampening": 0.5}
    ),
    "sutskever": Case(
        T.sutskever_momentum,
        sutskever,
        {"learning_rate": 0.02, "max_decay": 0.9, "interval": 50.0},
    ),
    "sutskever, nesterov": Case(
        T.sutskever_momentum,
        sutskever_ahead,
        {"learning_rate": 0.02, "max_decay": 0.9, "interval": 50.0},
        {"nesterov": True},
    ),
    "nesterov 1983": Case(T.nesterov_1983, nesterov_1983, {"learning_rate": 0.1}),
    "qhm": Case(T.qhm, qhm, {"learning_rate": 0.2, "decay": 0.9, "nu": 0.7}),
    "aggmo": Case(T.aggmo, aggmo, {"learning_rate": 0.02, "scale": 0.1}),
    # Rates whose signs do not turn within the steps, where a rounding would decide; powers of two,
    # whose sums are exact.
    "sign descent": Case(T.sign_descent, sign_descent, {"learning_rate": 2.0**-11}),
    "signum": Case(T.signum, signum, {"learning_rate": 2.0**-11, "decay": 0.9}),
    "lion": Case(
        T.lion, lion, {"learning_rate": 0.0005, "b1": 0.9, "b2": 0.99, "weight_decay": 0.1}
    ),
    "adagrad, optax": Case(
        T.adagrad_optax,
        adagrad_optax,
        {"learning_rate": 0.1, "eps": 1e-3, "initial_accumulator": 0.1},
    ),
    "adagrad, torch": Case(
        T.adagrad_torch,
        adagrad_torch,
        {"learning_rate": 0.1, "lr_decay": 0.01, "eps": 1e-10, "initial_accumulator": 0.0},
    ),
    # Small eigenvalues are known to 1e-7 of the largest: eps stands above what that makes of roots.
    "adagrad, full": Case(
        T.adagrad_full, adagrad_full, {"learning_rate": 3.0, "eps": 10.0}, whole=True
    ),
    "rmsprop, graves": Case(
        T.rmsprop_graves,
        graves,
        {"learning_rate": 0.0001, "decay": 0.95, "momentum": 0.9, "eps": 1e-2},
    ),
    "rmsprop, torch": Case(
        T.rmsprop_torch,
        make_rmsprop_torch(centered=False),
        {"learning_rate": 0.0001, "decay": 0.99, "eps": 1e-8, "momentum": 0.9},
    ),
    "amsgrad": Case(T.amsgrad, amsgrad, ADAM),
    "amsgrad, torch": Case(T.amsgrad, amsgrad_torch, ADAM, {"bias_correction": True}),
    "adamax": Case(T.adamax, adamax, {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999}),
    "nadam": Case(T.nadam, make_nadam(torch=False), ADAM | {"momentum_decay": 0.004}),
    "nadam, torch": Case(
        T.nadam, make_nadam(torch=True), ADAM | {"momentum_decay": 0.004}, {"torch": True}
    ),
    "nadam, optax": Case(T.nadam_optax, nadam_optax, ADAM),
    "adamw": Case(T.adamw, adamw, ADAM | {"weight_decay": 0.1}),
    "adamw, paper": Case(
        T.adamw_paper, adamw_paper, ADAM | {"weight_decay": 0.0001, "multiplier": 0.9}
    ),
    "radam": Case(T.radam, radam, ADAM),
    # At lower rates gradients hardly differ from their mean, of which float32 knows little then.
    "adabelief": Case(T.adabelief, adabelief, ADAM | {"learning_rate": 0.003}),
    "yogi": Case(
        T.yogi,
        yogi,
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-3, "initial_accumulator": 0.0},
    ),
    "novograd": Case(
        T.novograd,
        novograd,
        {"learning_rate": 0.0005, "b1": 0.95, "b2": 0.98, "eps": 1e-8, "weight_decay": 0.1},
    ),
    "qhadam": Case(T.qhadam, qhadam, ADAM | {"nu1": 0.7, "nu2": 0.9}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(*PRECISIONS)
def test_follows_the_paper_for_1000_steps(case, dtype, tolerance):
    assert_follows(CASES[case], dtype, tolerance, moves=0.3)


def test_centred_rmsprop_of_torch():
    # With eps outside the root, float32 feels the deviation of gradients that hardly vary.
    numbers = {"learning_rate": 0.0001, "decay": 0.95, "eps": 0.01, "momentum": 0.9}
    reference = make_rmsprop_torch(centered=True)
    case = Case(T.rmsprop_torch, reference, numbers, {"centered": True})
    assert_follows(case, np.float64, 1e-12, moves=0.3)
