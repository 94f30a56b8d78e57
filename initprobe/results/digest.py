"""`Digest`: a result in a few numbers, for tables and pictures of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from initprobe.results.base import Severity
from initprobe.results.layers import LayerStats
from initprobe.results.outcome import SURVIVES, survives, verdict_of
from initprobe.results.run import ProbeResult

Logs = tuple[Annotated[float, Field(allow_inf_nan=False)] | None, ...]


class Digest(BaseModel):
    """What a table of many results shows of each.

    Logs are base 10, first layer to last, null where a variance is 0, lost, or not predicted.

    Attributes:
        healthy: no finding above info counts.
        rule: the rule of the most severe finding; null if there is none above info.
        severity: of that finding.
        layer: where that finding begins.
        evidence: of that finding.
        output: log10 variance of h.
        output_theory: the prediction.
        gradient: log10 variance of dL/dh.
        gradient_theory: the prediction.
        correlation: mean cosine between two inputs' z at the last layer; of a residual branch at its first.
        saturated: largest share of saturated outputs.
        dead: largest share of dead units.
        z: `theory.z` of largest magnitude.
        loss: at the start; null without a loss, and where it left the float range.
        final_loss: after training; null for a net that was not trained or diverged.
        start: the first layer that is not inside a residual branch.
        output_zeros: the layers whose variance of h is exactly 0. Stores of older versions lack them.
        gradient_zeros: the same of dL/dh.
    """

    model_config = ConfigDict(frozen=True)

    healthy: bool
    rule: str | None
    severity: Severity | None
    layer: int | None
    evidence: str | None
    output: Logs
    output_theory: Logs
    gradient: Logs
    gradient_theory: Logs
    correlation: float | None
    saturated: float | None
    dead: float | None
    z: Annotated[float | None, Field(allow_inf_nan=False)]
    loss: Annotated[float | None, Field(allow_inf_nan=False)] = None
    final_loss: Annotated[float | None, Field(allow_inf_nan=False)] = None
    start: int = 1
    output_zeros: tuple[int, ...] = ()
    gradient_zeros: tuple[int, ...] = ()

    @property
    def verdict(self) -> str:
        """The most severe rule above info, or `survives`."""
        return self.rule or SURVIVES

    @property
    def last_output(self) -> float | None:
        """log10 variance of h at the last layer: -inf for 0, None where it was lost."""
        return -math.inf if len(self.output) in self.output_zeros else self.output[-1]

    @property
    def first_gradient(self) -> float | None:
        """log10 variance of dL/dh at the first layer outside residual branches: -inf for 0, None where it was lost."""
        return -math.inf if self.start in self.gradient_zeros else self.gradient[self.start - 1]


def digest(result: ProbeResult) -> Digest:
    """The digest of a result."""
    worst = verdict_of(result)
    layers = result.layers
    return Digest(
        healthy=survives(result),
        rule=worst.rule if worst else None,
        severity=worst.severity if worst else None,
        layer=worst.layer if worst else None,
        evidence=worst.evidence if worst else None,
        output=tuple(layer.output.variance_log10 for layer in layers),
        output_theory=tuple(_predicted(layer, "output_variance") for layer in layers),
        gradient=tuple(layer.output_gradient.variance_log10 for layer in layers),
        gradient_theory=tuple(_predicted(layer, "output_gradient_variance") for layer in layers),
        correlation=result.fed_by_stream[-1].correlation,
        saturated=max((s for layer in layers if (s := layer.output.saturated_fraction) is not None), default=None),
        dead=max((s for layer in layers if (s := layer.output.dead_fraction) is not None), default=None),
        z=max((t.z for layer in layers if (t := layer.theory) and t.z is not None), key=abs, default=None),
        loss=result.loss.start if result.loss else None,
        final_loss=result.training.final_loss if result.training else None,
        start=result.stream[0].layer,
        output_zeros=_zeros(layers, "output"),
        gradient_zeros=_zeros(layers, "output_gradient"),
    )


def _zeros(layers: Sequence[LayerStats], tensor: str) -> tuple[int, ...]:
    return tuple(layer.layer for layer in layers if layer.tensor(tensor).variance == 0)


def _predicted(layer: LayerStats, name: str) -> float | None:
    value = getattr(layer.theory, name, None)
    return math.log10(value) if value else None
