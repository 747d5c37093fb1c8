"""What pictures of the cost of networks show, in one sentence each, from their numbers."""

import numpy as np

from initopt_jax.probes.slices.record import NetLandscape
from initopt_jax.reports.numbers import listed
from initopt_jax.reports.scales import Floats

SAME_BASIN = 0.02  # of the loss at the start: a lower barrier is called none
LEARNED = 0.1  # of the loss at the start: below this an end counts as the bottom of a basin
LEVEL = 0.02  # of the highest loss on a line: likewise, where no start is known


def paths_sentence(picture: NetLandscape) -> str:
    """The share of variance that the plane holds, and which ends lie in the basin of the best."""
    arrays = picture.arrays
    names, step = _names(picture), arrays["step"]
    ends, starts = _ends(arrays["path_loss"], step), arrays["path_loss"][:, 0]
    share = f"{float(arrays['explained'].sum()):.0%} of the variance"
    text = f"The plane holds {share} of {_many(len(names), 'path')}"
    if not np.isfinite(ends).any():
        return text + "; every path diverged."
    text += f" (the ends lie {np.nanmean(_ends(arrays['off'], step)):.3g} off it on average)"
    best = int(np.nanargmin(ends))
    text += f"; the lowest end is that of {names[best]}, at a loss of {_number(ends[best])}"
    start = float(np.nanmedian(starts))
    low = [row for row in range(len(names)) if ends[row] <= LEARNED * start and row != best]
    low = [row for row in low if np.isfinite(arrays["barrier"][row])]
    stuck = len(names) - len(low) - 1
    if stuck:
        text += f" ({_many(stuck, 'path')} stayed above a tenth of the loss at the start)"
    if not low:
        return text + "."
    heights = arrays["barrier"][low]
    near = [names[row] for row in low if arrays["barrier"][row] <= SAME_BASIN * start]
    worst = low[int(np.argmax(heights))]
    high = (
        f"on straight lines from it the highest barrier is {_number(arrays['barrier'][worst])}, "
        f"towards {names[worst]}"
    )
    if len(near) == len(low):
        return f"{text}; all the others lie in its basin: {high}."
    if not near:
        return f"{text}; none of the {len(low)} others lies in its basin: {high}."
    which = listed(near) if len(near) <= 3 else f"{len(near)} of the {len(low)} others"
    return f"{text}; {which} {'lies' if len(near) == 1 else 'lie'} in its basin: {high}."


def slice_sentence(picture: NetLandscape) -> str:
    """How far the loss rises from the trained networks to the rim, least and most."""
    arrays = picture.arrays
    losses = arrays["loss"].reshape(len(arrays["loss"]), -1)
    middle = losses[:, losses.shape[1] // 2]
    rise = _rim(arrays["loss"]) - middle
    names, known = _names(picture), np.flatnonzero(np.isfinite(rise))
    if not len(known):
        return "No trained network is finite."
    flat, steep = (int(known[pick(rise[known])]) for pick in (np.argmin, np.argmax))
    reach = f"at ±{float(arrays['x'][-1]):g} filter norms"
    text = f"{names[flat]} lies flattest: the loss rises by {_number(rise[flat])} {reach}"
    if len(known) == 1:
        return text + "."
    return f"{text}, against {_number(rise[steep])} around {names[steep]}, the steepest."


def line_sentence(picture: NetLandscape) -> str:
    """The barriers between two seeds, and what matching of units leaves of them."""
    arrays = picture.arrays
    names, barrier = _names(picture), arrays["barrier"]
    known = np.flatnonzero(np.isfinite(barrier[:, 0]))
    if not len(known):
        return "No pair of networks is finite."
    joined = [row for row in known if barrier[row, 0] <= LEVEL * arrays["loss"][row].max()]
    low, high = (int(known[pick(barrier[known, 0])]) for pick in (np.argmin, np.argmax))
    if len(known) == 1:
        text = f"Between two seeds of {names[low]} the barrier is {_number(barrier[low, 0])}"
    else:
        text = (
            f"Between two seeds the barrier is lowest for {names[low]} "
            f"({_number(barrier[low, 0])}) and highest for {names[high]} "
            f"({_number(barrier[high, 0])})"
        )
    basin = f"the two ends lie in one basin for {len(joined)} of {_many(len(known), 'pair')}"
    both = known[np.isfinite(barrier[known, 1])]
    if not len(both):
        return f"{text}; {basin}."
    left = np.array([barrier[row, 1] / max(barrier[row, 0], 1e-30) for row in both])
    kept = f"with matched units {float(np.median(left)):.0%} of it is left"
    kept += "" if len(both) == 1 else f" (median; {left.min():.0%} to {left.max():.0%})"
    return f"{text}; {kept}; {basin}."


def lanes_sentence(picture: NetLandscape) -> str:
    """How far apart the three networks are, and how high the loss rises between them."""
    arrays = picture.arrays
    points, ends = arrays["coordinates"], arrays["corner_loss"]
    sides = ((0, 1), (0, 2), (1, 2))
    far = [float(np.linalg.norm(points[a] - points[b])) for a, b in sides]
    middle = points.mean(axis=0)
    column = int(np.argmin(np.abs(arrays["x"] - middle[0])))
    row = int(np.argmin(np.abs(arrays["y"] - middle[1])))
    between = float(arrays["loss"][row, column])
    return (
        f"The three networks lie {min(far):.3g} to {max(far):.3g} apart, at losses of "
        f"{_number(float(ends.min()))} to {_number(float(ends.max()))}; in the middle between them "
        f"the loss is {_number(between)}."
    )


def corner(picture: NetLandscape, row: int) -> str:
    """The text beside one of three networks: its loss, and of seeds of one cell its lane."""
    loss = f"loss {_number(float(picture.arrays['corner_loss'][row]))}"
    if len(_names(picture)) == 3:
        return loss
    return f"lane {int(picture.arrays['corners'][row])}, {loss}"


def _names(picture: NetLandscape) -> list[str]:
    pairs = zip(picture.labels("initializer"), picture.labels("optimizer"), strict=True)
    return [f"{initializer} with {optimizer}" for initializer, optimizer in pairs]


def _ends(values: Floats, step: Floats) -> Floats:
    """[C], the value of each row [T] at its last step; NaN where that network diverged."""
    last = np.isfinite(step).sum(axis=1) - 1
    return values[np.arange(len(values)), last]


def _rim(losses: Floats) -> Floats:
    """[C], the mean loss on the rim of curves [C, S] or maps [C, Y, X]."""
    if losses.ndim == 2:
        return losses[:, [0, -1]].mean(axis=1)
    sides = [losses[:, 0], losses[:, -1], losses[:, :, 0], losses[:, :, -1]]
    return np.concatenate(sides, axis=1).mean(axis=1)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("e-0", "e-")


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
