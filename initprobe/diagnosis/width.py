"""The rule about a net that is too deep for its width. Its typical draw loses what the mean over draws keeps."""

from __future__ import annotations

from collections.abc import Iterator

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.rule import Observation, Rule
from initprobe.formatting import counted, fixed, percent, power
from initprobe.results.run import ProbeResult

# log10 of a loss by a factor of 100. If the mean log is above it, draws are lost because all units of a layer are off.
_LOST_LOG10 = -2.0


def _too_deep(result: ProbeResult, limits: Thresholds) -> Iterator[Observation]:
    typical = result.typical
    if typical is None or typical.layer is None:
        return
    layers, widths = len(result.layers), sorted({layer.fan_out for layer in result.layers})
    units = counted(widths[0], "unit") if len(widths) == 1 else f"{widths[0]} to {widths[-1]} units"
    lost = f"{percent(typical.loss_probability)}% of the draws lose more than a factor of 100"
    if typical.log10_mean > _LOST_LOG10:
        evidence = f"{counted(layers, 'layer')} of {units}: {lost}, since all units of some layer are off"
    else:
        rate = fixed(10 ** (typical.log10_mean / layers), 4)
        evidence = (
            f"{layers} layers of {units}: a typical layer keeps {rate} of the mean over draws, and "
            f"{rate}^{layers} = {power(typical.log10_mean)}; {lost}"
        )
    yield Observation(typical.layer, evidence, "warning")


RULES = (
    Rule(
        name="too-deep",
        meaning="the net is too deep for its width: the mean over draws is level, but typical draws lose the signal",
        measurement="predicted probability that a draw keeps less than 1/100 of the mean over draws, above one half",
        remedy="wider layers, or --residual with --branch-scale 1/sqrt(2L); other weights rarely help",
        reference="Hanin & Rolnick 2018, arXiv:1803.01719",
        look=_too_deep,
    ),
)
