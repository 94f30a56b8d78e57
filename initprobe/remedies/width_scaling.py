"""Powers of the width that make a network transfer, found from its slopes and tried before they are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from initprobe.diagnosis.width_sizes import Family, Networks, WidthSlopes
from initprobe.diagnosis.width_verdict import deviations, findings_of, transfers, verdict_of
from initprobe.formatting import listed
from initprobe.results.coordinate_check import WidthFinding, WidthLine

_READOUT = -0.5  # slope of the logits of a read-out whose weights are 1/width
_MOST_NAMES = 6


@dataclass(frozen=True)
class Scaling:
    """Powers of the width by which a network is changed, by name of a parameter.

    Attributes:
        starts: of the entries before training.
        rates: of the learning rate.
    """

    starts: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.starts or self.rates)


# Measures the networks of all widths and seeds, each changed by a scaling.
Measure = Callable[[Scaling], Networks]


@dataclass(frozen=True)
class Judged:
    """The slopes of some networks, and what the rules say of them."""

    slopes: WidthSlopes
    lines: tuple[WidthLine, ...]
    findings: tuple[WidthFinding, ...]

    @property
    def transfers(self) -> bool | None:
        """Whether the networks transfer; None where the seeds do not decide."""
        return transfers(self.findings)

    @property
    def verdict(self) -> str:
        """The same in words."""
        return verdict_of(self.findings)


def judged(widths: Sequence[int], networks: Networks, family: Family | None) -> Judged:
    """The slopes and the findings of measured networks.

    Args:
        widths: in ascending order.
        networks: by width and then by seed.
        family: of the optimizer; None for one without theory.
    """
    slopes = WidthSlopes(widths, networks, family)
    lines = tuple(slopes.lines())
    return Judged(slopes, lines, tuple(findings_of(slopes, lines)))


@dataclass(frozen=True)
class Trial:
    """The lines of a fix that works, with its powers; or what was tried without success."""

    fix: tuple[str, ...] = ()
    note: str | None = None
    scaling: Scaling = Scaling()


def tried(before: Judged, measure: Measure, family: Family | None) -> Trial:
    """Scale the starts of layers, then their learning rates, and measure again.

    Args:
        before: the networks as they are; they do not transfer.
        measure: makes and measures networks with a scaling.
        family: of the optimizer.
    """
    if any(finding.rule == "diverged" for finding in before.findings):
        return Trial(note="not tried: training diverges")
    scaling, now = Scaling(starts=_starts(before)), before
    if scaling:
        now = judged(before.slopes.widths, measure(scaling), family)
    scaling = Scaling(scaling.starts, _rates(now))
    if not scaling:
        return Trial(note="none is known: no power of the width in a start or a learning rate explains it")
    last = judged(before.slopes.widths, measure(scaling), family)
    lines = tuple(fix_lines(scaling, before.slopes.widths[0]))
    if last.transfers:
        return Trial(lines, None, scaling)
    return Trial(note=f"tried {'; '.join(lines)}: still {last.verdict}")


def _starts(before: Judged) -> dict[str, float]:
    """Powers of the starts: of layers that grow or shrink by themselves, and of a read-out that does not fall."""
    slopes, powers = before.slopes, {}
    outputs = {each.line.layer for each in deviations(slopes, before.lines) if each.line.quantity == "output"}
    for name in slopes.names:
        layer = slopes.first(name)
        if layer.parameter is None or layer.is_normed:
            continue
        gain = _own_gain(slopes, name)
        is_readout = layer.kind == "readout"
        power = (
            _halves((_READOUT if is_readout else 0.0) - gain) if gain is not None and (is_readout or outputs) else 0.0
        )
        if power:
            powers[layer.parameter] = power
    return powers


def _own_gain(slopes: WidthSlopes, name: str) -> float | None:
    """The slope of rms(z) over rms(input); None where z is 0."""
    product = slopes.slope(name, lambda layer: layer.product)
    return None if product is None else product - (slopes.slope(name, lambda layer: layer.given) or 0.0)


def _rates(now: Judged) -> dict[str, float]:
    """Powers of the learning rates that make the layers' own changes level.

    The first step is exact. Where it has no gradient, as behind weights of 0, the last step counts.
    """
    powers, slopes = {}, now.slopes
    for line in now.lines:
        name = slopes.first(line.layer).parameter
        has_gradient = slopes.slope(line.layer, lambda layer: layer.product_gradient) is not None
        if line.quantity != "own_change" or line.step != (1 if has_gradient else slopes.steps):
            continue
        if name is not None and line.slope is not None and (power := -_halves(line.slope)):
            powers[name] = power
    return powers


def _halves(power: float) -> float:
    """The nearest multiple of one half, never -0."""
    return round(2 * power) / 2 + 0.0


def fix_lines(scaling: Scaling, smallest: int) -> Iterator[str]:
    """A scaling in words, one line for each power.

    Args:
        scaling: the powers.
        smallest: the width at which nothing changes.
    """
    for words, powers in (("multiply the start of", scaling.starts), ("multiply the learning rate of", scaling.rates)):
        for power in sorted(set(powers.values())):
            names = [name for name, own in powers.items() if own == power]
            yield f"{words} {listed(names, _MOST_NAMES)} by {_factor(power, smallest)}"


def _factor(power: float, smallest: int) -> str:
    ratio = f"{smallest}/width" if power < 0 else f"width/{smallest}"
    return ratio if abs(power) == 1 else f"({ratio})^{abs(power):g}"
