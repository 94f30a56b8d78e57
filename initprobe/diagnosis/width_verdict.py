"""Whether a network transfers between widths: the rules about slopes, and their texts.

In the maximal update parametrization (Yang & Hu 2021, arXiv:2011.14522) no size depends on the width. This holds for h
before training, for its change over some steps, and for what each layer's own update adds. Then the best learning rate
of a narrow network is that of a wide one (Yang et al. 2022, arXiv:2203.03466).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from initprobe.diagnosis.width_sizes import WidthSlopes
from initprobe.formatting import counted, listed
from initprobe.results.coordinate_check import WidthFinding, WidthLine

# Slopes of finite networks differ from their limits. In networks that transfer they differ by up to 0.1 between widths
# 64 and 512. The slopes of networks that do not are 0.5 and more.
TOLERANCE = 0.15
# Some parts of a change of h are not aligned with the weights. Where these still count at small widths, it falls too.
# What falls in wide networks too is seen in the updates of W.
_FALL = 0.35
_ERRORS = 3.0  # standard errors that a slope may be off
_UNDECIDED = 0.25  # above this standard error, a slope of one half is not seen
_STRICT = ("layer", "stream")  # kinds whose outputs may neither grow nor fall


@dataclass(frozen=True)
class Deviation:
    """A line whose slope is not 0; `grows` says to which side."""

    line: WidthLine
    grows: bool


def deviations(slopes: WidthSlopes, lines: Iterable[WidthLine]) -> list[Deviation]:
    """The judged lines whose slopes are not 0, beyond tolerance and noise.

    Args:
        slopes: of all layers.
        lines: one per layer and quantity.
    """
    allowed = fall_allowed(slopes)
    return [
        Deviation(line, line.slope > 0)
        for line in lines
        if line.judged and line.slope is not None and line.slope_se is not None and _deviates(line, allowed)
    ]


def _deviates(line: WidthLine, fall: float) -> bool:
    assert line.slope is not None and line.slope_se is not None
    noise = _ERRORS * line.slope_se
    if line.slope > TOLERANCE + noise:
        return True
    if line.kind == "attention" or (line.kind == "readout" and line.quantity == "output"):
        return False  # a read-out of 0 or 1/width, and logits divided by d, fall before training
    return line.slope < -(noise + (_FALL + fall if line.quantity == "change" else TOLERANCE))


def fall_allowed(slopes: WidthSlopes) -> float:
    """How far a change of h may seem to fall in a batch with more rows than units.

    An update is aligned with each of T orthogonal inputs up to `sqrt(1/T + 1/n)`. This falls with the width n until n
    is far above T.
    """
    rows = max((slopes.first(name).rows for name in slopes.names), default=1)
    low, high = slopes.widths[0], slopes.widths[-1]
    change = math.log(1 / rows + 1 / high) - math.log(1 / rows + 1 / low)
    return -change / 2 / math.log(high / low)


def findings_of(slopes: WidthSlopes, lines: Sequence[WidthLine]) -> list[WidthFinding]:
    """All findings, the most severe first.

    Args:
        slopes: of all layers.
        lines: one per layer and quantity.
    """
    deviating = deviations(slopes, lines)
    findings = [*_diverged(lines), *_errors(deviating, slopes.steps)]
    if not findings:
        findings += _undecided(lines)
    return [*findings, *_still(lines, slopes.steps), *_exceptions(lines), *_unmeasured(slopes, lines), *_batch(slopes)]


# Every rule, with its meaning.
WIDTH_RULES: Mapping[str, str] = {
    "diverged": "Numbers leave the float range, before training or in it.",
    **{
        f"{name}-{way}": f"{what} {'grow' if way == 'grows' else 'fall'} with the width."
        for name, what in (
            ("output", "Values of h"),
            ("logits", "Logits"),
            ("logits-change", "Changes of logits"),
            ("change", "Changes of h"),
            ("update", "Updates of W"),
            ("attention", "Logits of attention"),
        )
        for way in ("grows", "falls")
    },
    "undecided": "The seeds do not decide whether a slope is 0.",
    "no-change": "Training does not change h of a layer.",
    "starts-at-zero": "Logits are 0 before training.",
    "starts-small": "Logits fall with the width before training.",
    "unmeasured": "h of a layer has another shape after some step.",
    "missing-layers": "A layer is not in every network.",
    "large-batch": "So many samples make changes seem to fall with the width.",
}


def transfers(findings: Sequence[WidthFinding]) -> bool | None:
    """True without an error; None where the seeds do not decide."""
    severities = {finding.severity for finding in findings}
    return False if "error" in severities else None if "warning" in severities else True


def verdict_of(findings: Sequence[WidthFinding]) -> str:
    """The verdict in a line."""
    answer = transfers(findings)
    if answer:
        return "transfers: no size and no change depends on the width"
    if answer is None:
        return f"undecided: {next(each.text for each in findings if each.severity == 'warning')}"
    return f"does not transfer: {next(each.text for each in findings if each.severity == 'error')}"


def _diverged(lines: Sequence[WidthLine]) -> Iterator[WidthFinding]:
    lost = [line for line in lines if line.status == "nonfinite" and line.quantity == "change"]
    if lost:
        start = tuple(line.layer for line in lines if line.status == "nonfinite" and line.quantity == "output")
        first = min(line.step for line in lost)
        names = start or tuple(line.layer for line in lost if line.step == first)
        text = f"training leaves the float range at step {first} ({listed(names)}); lower the learning rate"
        if start:
            text = f"h leaves the float range before training ({listed(names)}); start with smaller weights"
        yield WidthFinding(rule="diverged", severity="error", layers=names, text=text)


_Text = Callable[[str, str], str]


def _errors(deviating: Sequence[Deviation], steps: int) -> Iterator[WidthFinding]:
    after = f"after {counted(steps, 'step')}"
    for rule, belongs, words in _rules(after):
        for grows in (True, False):
            group = [each.line for each in deviating if each.grows is grows and belongs(each.line)]
            if group:
                names = tuple(line.layer for line in group)
                text = words("grow" if grows else "fall", f"{powers(group)} ({listed(names)})")
                yield WidthFinding(
                    rule=f"{rule}-{'grows' if grows else 'falls'}", severity="error", layers=names, text=text
                )


def _rules(after: str) -> Sequence[tuple[str, Callable[[WidthLine], bool], _Text]]:
    """Name, lines and text of each rule; the text is of the direction and of the power with the layers."""
    return (
        (
            "output",
            lambda line: line.quantity == "output" and line.kind in _STRICT,
            lambda way, power: f"h {way}s as {power} before training",
        ),
        (
            "logits",
            lambda line: line.quantity == "output" and line.kind == "readout",
            lambda way, power: f"logits {way} as {power} before training",
        ),
        (
            "logits-change",
            lambda line: line.quantity == "change" and line.kind == "readout",
            lambda way, power: f"changes of logits {way} as {power} {after}",
        ),
        (
            "change",
            lambda line: line.quantity == "change" and line.kind in _STRICT,
            lambda way, power: f"changes of h {way} as {power} {after}",
        ),
        (
            "update",
            lambda line: line.quantity == "own_change",
            lambda way, power: f"updates of W {way} as {power}: the learning rate there is wrong",
        ),
        (
            "attention",
            lambda line: line.kind == "attention",
            lambda way, power: f"logits of attention {way} as {power}; divide by d, not by sqrt(d), where d grows",
        ),
    )


def powers(lines: Sequence[WidthLine]) -> str:
    """`width^0.50`, or `width^0.45 to width^0.98`."""
    slopes = sorted({f"{line.slope:.2f}" for line in lines if line.slope is not None}, key=float)
    return f"width^{slopes[0]}" + (f" to width^{slopes[-1]}" if len(slopes) > 1 else "")


def _undecided(lines: Sequence[WidthLine]) -> Iterator[WidthFinding]:
    unsure = [
        line
        for line in lines
        if line.judged and line.slope_se is not None and line.slope_se > _UNDECIDED and abs(line.slope or 0) > TOLERANCE
    ]
    if unsure:
        names = tuple(dict.fromkeys(line.layer for line in unsure))
        largest = max(line.slope_se or 0 for line in unsure)
        text = f"slopes of {listed(names)} have standard errors up to {largest:.2f}; give more --seeds or --widths"
        yield WidthFinding(rule="undecided", severity="warning", layers=names, text=text)


def _still(lines: Sequence[WidthLine], steps: int) -> Iterator[WidthFinding]:
    last = [line for line in lines if line.quantity == "change" and line.step == steps]
    names = tuple(line.layer for line in last if line.status == "zero")
    if names and len(names) == len(last):
        text = f"nothing changes in {counted(steps, 'step')}, so no change can be judged: frozen, or weights of 0"
        yield WidthFinding(rule="no-change", severity="warning", layers=names, text=text)
    elif names:
        text = f"h of {listed(names)} does not change in {counted(steps, 'step')}: frozen, or shut by weights of 0"
        yield WidthFinding(rule="no-change", severity="info", layers=names, text=text)


def _exceptions(lines: Sequence[WidthLine]) -> Iterator[WidthFinding]:
    for line in lines:
        if line.quantity != "output" or line.kind not in ("readout", "attention"):
            continue
        what = "logits" if line.kind == "readout" else "logits of attention"
        reason = "as in muP" if line.kind == "readout" else "as with W of queries at 0"
        if line.status == "zero":
            text = f"{what} are 0 before training, {reason}; this is no fault ({line.layer})"
            yield WidthFinding(rule="starts-at-zero", severity="info", layers=(line.layer,), text=text)
        elif line.slope is not None and line.slope < -TOLERANCE:
            fall = f"{what} fall as width^{line.slope:.2f} before training"
            text = f"{fall}, as in muP; this is no fault ({line.layer})"
            yield WidthFinding(rule="starts-small", severity="info", layers=(line.layer,), text=text)


def _unmeasured(slopes: WidthSlopes, lines: Sequence[WidthLine]) -> Iterator[WidthFinding]:
    changing = {line.layer for line in lines if line.quantity == "change"}
    still = tuple(name for name in slopes.names if name not in changing)
    if still:
        text = f"h of {listed(still)} has another shape after some step, so its change is not judged"
        yield WidthFinding(rule="unmeasured", severity="info", layers=still, text=text)
    if slopes.missing:
        text = f"{listed(slopes.missing)}: not in every network, so not judged"
        yield WidthFinding(rule="missing-layers", severity="info", layers=tuple(slopes.missing), text=text)


def _batch(slopes: WidthSlopes) -> Iterator[WidthFinding]:
    fall = fall_allowed(slopes)
    if fall > TOLERANCE:
        rows = max(slopes.first(name).rows for name in slopes.names)
        text = (
            f"with {rows:,} samples times positions, changes of h seem to fall by up to width^-{fall:.2f}; "
            "with fewer they are exact"
        )
        yield WidthFinding(rule="large-batch", severity="info", layers=(), text=text)
