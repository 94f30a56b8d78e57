"""Powers of the width that make a network transfer, found from its slopes and tried before they are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from initprobe.diagnosis.width_sizes import Family, Networks, WidthSlopes
from initprobe.diagnosis.width_verdict import deviations, findings_of, transfers, verdict_of
from initprobe.formatting import listed, role
from initprobe.results.coordinate_check import WidthFinding, WidthLine

_READOUT = -0.5  # slope of the logits of a read-out whose weights are 1/width
_MOST_NAMES = 6
# Measured slopes of few seeds are noisy. Within this distance of a measured slope, the power of the table is taken.
_NEAR = 0.6


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
        before: the networks without a scaling, which do not transfer.
        measure: makes and measures networks with a scaling.
        family: of the optimizer.
    """
    if any(finding.rule == "diverged" for finding in before.findings):
        return Trial(note="not tried: numbers leave the float range")
    starts, tied = _agreed(_starts(before))
    scaling, now = Scaling(starts), before
    if scaling:
        now = judged(before.slopes.widths, measure(scaling), family)
    rates, tied_rates = _agreed(_rates(now, family))
    scaling = Scaling(scaling.starts, rates)
    if not scaling:
        return Trial(note="none is known: no power of the width in W or in its learning rate explains it; biases may")
    last = judged(before.slopes.widths, measure(scaling), family)
    lines = tuple(fix_lines(scaling, before.slopes))
    if last.transfers:
        return Trial(lines, None, scaling)
    shared = sorted({*tied, *tied_rates})
    more = f"; {listed(shared)} is used twice, and each use needs another power" if shared else ""
    return Trial(note=f"tried to {'; '.join(lines)}: still {last.verdict}{more}")


def _agreed(wanted: Iterable[tuple[str, float]]) -> tuple[dict[str, float], list[str]]:
    """The powers of parameters, 0 left out; and the tied parameters whose layers want different powers."""
    powers: dict[str, set[float]] = {}
    for name, power in wanted:
        powers.setdefault(name, set()).add(power)
    agreed = {name: next(iter(own)) for name, own in powers.items() if len(own) == 1}
    return {name: power for name, power in agreed.items() if power}, [name for name in powers if name not in agreed]


def _starts(before: Judged) -> Iterator[tuple[str, float]]:
    """Powers of the starts: of layers that grow or shrink by themselves, and of a read-out that does not fall."""
    slopes = before.slopes
    has_outputs = any(each.line.quantity == "output" for each in deviations(slopes, before.lines))
    for name in slopes.names:
        layer = slopes.first(name)
        if layer.parameter is None:
            continue
        gain, is_readout = _own_gain(slopes, name), layer.kind == "readout"
        is_scaled = gain is not None and not layer.is_normed and (is_readout or has_outputs)
        wanted = _READOUT if is_readout else 0.0
        yield layer.parameter, _halves(wanted - gain) if gain is not None and is_scaled else 0.0


def _own_gain(slopes: WidthSlopes, name: str) -> float | None:
    """The power by which W alone scales its input: a sum of fan_in independent terms; None where W is 0."""
    fan, weight = slopes.fan_slope(name), slopes.slope(name, lambda layer: layer.weight)
    return None if fan is None or weight is None else fan / 2 + weight


def _rates(now: Judged, family: Family | None) -> Iterator[tuple[str, float]]:
    """Powers of the learning rates that make the layers' own changes level.

    The first step is exact. Where it has no gradient, as behind weights of 0, the last step counts.
    """
    slopes = now.slopes
    for line in now.lines:
        name = slopes.first(line.layer).parameter
        has_gradient = slopes.slope(line.layer, lambda layer: layer.product_gradient) is not None
        is_chosen = line.quantity == "own_change" and line.step == (1 if has_gradient else slopes.steps)
        if is_chosen and name is not None and line.slope is not None:
            rule = _rule(slopes, line.layer, family)
            is_near = rule is not None and abs(rule + line.slope) <= _NEAR
            yield name, rule if rule is not None and is_near else -_halves(line.slope)


def _rule(slopes: WidthSlopes, name: str, family: Family | None) -> float | None:
    """The power of the learning rate by table 3 of Yang et al. 2022. None where the fans are not known."""
    fan_in, fan_out = slopes.fan_slope(name), slopes.slope(name, lambda layer: layer.fan_out)
    rate = slopes.slope(name, lambda layer: layer.rate)
    if fan_in is None or fan_out is None or rate is None or family is None:
        return None
    return _halves((fan_out if family == "sgd" else 0.0) - fan_in - rate)


def _halves(power: float) -> float:
    """The nearest multiple of one half, never -0."""
    return round(2 * power) / 2 + 0.0


def fix_lines(scaling: Scaling, slopes: WidthSlopes) -> Iterator[str]:
    """A scaling in words, one line for each power.

    Args:
        scaling: the powers.
        slopes: of the layers, for their parameters and the smallest width, at which nothing changes.
    """
    parameters = [name for layer in slopes.names if (name := slopes.first(layer).parameter)]
    for words, powers in (("multiply the start of", scaling.starts), ("multiply the learning rate of", scaling.rates)):
        for power in sorted(set(powers.values())):
            names = [name for name, own in powers.items() if own == power]
            yield f"{words} {listed(_by_role(names, parameters), _MOST_NAMES)} by {_factor(power, slopes.widths[0])}"


def _by_role(names: Sequence[str], every: Sequence[str]) -> list[str]:
    """The names; those of equal places in all blocks as one, `blocks.*.fc.weight`."""
    whole = {place for place in map(role, names) if all(name in names for name in every if role(name) == place)}
    return list(dict.fromkeys(role(name) if role(name) in whole else name for name in names))


def _factor(power: float, smallest: int) -> str:
    ratio = f"{smallest}/width" if power < 0 else f"width/{smallest}"
    return ratio if abs(power) == 1 else f"({ratio})^{abs(power):g}"
