"""Sentences about depth profiles, from their numbers."""

from collections.abc import Sequence

import numpy as np

from initopt_jax.reports.numbers import listed, rate
from initopt_jax.reports.probing import STEP, Probing, Verdict, judge, short

MOST = 6


def findings(probing: Probing, verdicts: Sequence[Verdict]) -> list[str]:
    """The few sentences at the head of the page."""
    labels = [look.label for look in probing.looks]
    told = []
    good = [
        label
        for label, verdict in zip(labels, verdicts, strict=True)
        if verdict.signal == verdict.gradient == "passes" and verdict.copied < 0.5
    ]
    total = len(labels)
    if good:
        told.append(
            f"With {len(good)} of {total} initializers signals and gradients pass through the "
            f"whole depth and units differ: {_some(good)}."
        )
    else:
        told.append(f"None of the {total} initializers passes on both signals and gradients.")
    for what, kind in (("Signals", "signal"), ("Gradients", "gradient")):
        for course, verb in (("vanishes", "vanish"), ("explodes", "explode"), ("is zero", "are 0")):
            own = [
                label
                for label, verdict in zip(labels, verdicts, strict=True)
                if getattr(verdict, kind) == course
            ]
            if own:
                told.append(f"{what} {verb} with {_some(own)}.")
    return told


def size_sentence(probing: Probing) -> str:
    """From the largest fall to the largest rise, and how far theory is off."""
    text = _range_sentence(probing, "signal_factor", "Over the depth the size of signals changes")
    errors = []
    for look in probing.looks:
        if look.foretold is None:
            continue
        measured, theory = look.course("preactivation_variance"), look.foretold.sizes
        good = np.isfinite(measured) & (measured > 0) & np.isfinite(theory) & (theory > 0)
        errors += np.abs(np.log(measured[good] / theory[good]))[1:].tolist()
    if errors:
        middle = np.exp(float(np.median(errors))) - 1
        text += f" Theory and measurement differ by {middle:.0%} in the median over layers."
    return text


def gradient_sentence(probing: Probing) -> str:
    """From the largest fall to the largest rise of gradients."""
    return _range_sentence(
        probing, "gradient_factor", "From the last hidden layer to the first gradients change"
    )


def correlation_sentence(probing: Probing) -> str:
    """Who keeps inputs apart, and who makes them one."""
    _, last = probing.ends
    found = [
        (float(look.mean("input_correlation")[last]), look.label)
        for look in probing.looks
        if np.isfinite(look.mean("input_correlation")[last])
    ]
    where = short(probing.kernels[last])
    if not found:
        return f"In {where} no initializer has signals that could be compared."
    low, high = min(found), max(found)
    if len(found) == 1:
        return f"In {where} two inputs have a mean correlation of {low[0]:.3f} ({low[1]})."
    return (
        f"In {where} two inputs have a mean correlation between {low[0]:.3f} ({low[1]}) and "
        f"{high[0]:.3f} ({high[1]})."
    )


def step_sentence(probing: Probing) -> str:
    """How much of the gradient at the last step is left at the second, at worst and at best."""
    found: list[tuple[float, str]] = []
    for look in probing.looks:
        norms = look.course(STEP)
        early, late = float(norms[min(1, len(norms) - 1)]), float(norms[-1])
        if late > 0 and np.isfinite(early / late):
            found.append((early / late, look.label))
    if not found:
        return "No gradient along the steps could be measured."
    low, high = min(found), max(found)
    return (
        f"Of the gradient at the last step a share of {rate(low[0])} ({low[1]}) to {rate(high[0])} "
        f"({high[1]}) is left at the second."
    )


def share_sentence(probing: Probing) -> str:
    """The most dead units, and the flattest layer."""
    verdicts = [(judge(look, probing), look.label) for look in probing.looks]
    dead = max(((v.dead, label) for v, label in verdicts if np.isfinite(v.dead)), default=None)
    flat = max(
        ((v.saturated, label) for v, label in verdicts if np.isfinite(v.saturated)), default=None
    )
    if dead is None or flat is None:
        return "No slopes could be measured."
    first = (
        f"The most dead units of a layer are {dead[0]:.0%} ({dead[1]})"
        if dead[0] > 0
        else "No unit is dead"
    )
    return f"{first}; the largest saturated share of a layer is {flat[0]:.0%} ({flat[1]})."


def phase_sentence(probing: Probing) -> str:
    """Which initializers stand in order, near the line, and in chaos."""
    groups: dict[str, list[str]] = {"in order": [], "within 5% of criticality": [], "in chaos": []}
    for look in probing.looks:
        if look.phase is None:
            continue
        chi = look.phase.chi
        side = "in order" if chi < 1 else "in chaos"
        groups["within 5% of criticality" if abs(chi - 1) <= 0.05 else side].append(look.label)
    parts = [f"{where}: {_some(labels)}" for where, labels in groups.items() if labels]
    text = "; ".join(parts) or "no initializer has layers that the diagram could place"
    return f"{text[0].upper()}{text[1:]}."


def _range_sentence(probing: Probing, which: str, opening: str) -> str:
    found: list[tuple[float, str]] = []
    zero: list[str] = []
    lost: list[str] = []
    for look in probing.looks:
        factor = getattr(judge(look, probing), which)
        if factor == 0:
            zero.append(look.label)
        elif np.isfinite(factor):
            found.append((factor, look.label))
        else:
            lost.append(look.label)
    text = ""
    if found:
        low, high = min(found), max(found)
        text = (
            f"{opening} by factors from {rate(low[0])} ({low[1]}) to {rate(high[0])} ({high[1]})."
        )
        if len(found) == 1:
            text = f"{opening} by a factor of {rate(low[0])} ({low[1]})."
    if zero:
        text += f"{' ' if text else ''}They are exactly 0 with {_some(zero)}."
    if lost:
        text += f"{' ' if text else ''}They are not finite with {_some(lost)}."
    return text or "No factor over the depth could be measured."


def _some(names: list[str]) -> str:
    if len(names) <= MOST:
        return listed(names)
    return f"{', '.join(names[: MOST - 1])} and {len(names) - MOST + 1} more"
