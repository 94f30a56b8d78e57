"""The breaches of a check: what in a result lies outside its bound.

`theory.z` is bounded in size: |z|. `healthy` and `verdict` are judged by the findings that are not ignored. A number
that was lost (null, with a status that is not ok) breaks its check. A number that does not apply, such as the dead
units of tanh, does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from initprobe.diagnosis.rule import SEVERITIES as RANKED_SEVERITIES
from initprobe.results.base import TENSORS, Status, worst
from initprobe.results.layers import LayerStats
from initprobe.results.named_numbers import HEALTHY, LOSSES, RATES, RUN_NUMBERS, VERDICT, number_of, rate_of, value_of
from initprobe.results.outcome import SURVIVES, counted, survives, verdict_of
from initprobe.results.run import ProbeResult
from initprobe.sweeps.checks import SEVERITIES, Bound, Check
from initprobe.sweeps.file_fields import matches, settings_of

_ABSOLUTE = "theory.z"


@dataclass(frozen=True)
class Breach:
    """A number that breaks its check.

    Attributes:
        name: of the number.
        layer: the layer of the number; None for a number of the whole net.
        value: of the number; None where it was lost.
        bound: the bound, in words.
        reason: why there is no value, in words; "" where there is one.
    """

    name: str
    layer: int | None
    value: float | bool | str | None
    bound: str
    reason: str = ""

    def __str__(self) -> str:
        at = f" at layer {self.layer}" if self.layer else ""
        return f"{self.name}{at} is {self.value_text}, not {self.bound}"

    @property
    def value_text(self) -> str:
        """The value in words, or why there is none."""
        return self.reason or (f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value).lower())


def verdicts(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    """The answers of a check for one result, by layer.

    Args:
        check: the check.
        result: of a run, with its ignored findings marked.

    Yields:
        For every number that the check applies to, its breach, or None where the number lies within the bound.
    """
    if not matches(settings_of(result.config, [setting.name for setting in check.where]), check.where):
        return
    if check.name == HEALTHY:
        healthy = survives(result)
        yield None if healthy == check.bound.is_ else Breach(HEALTHY, None, healthy, str(check.bound))
    elif check.name == VERDICT:
        yield _wrong_finding(check.bound, result)
    elif check.name in RATES:
        yield from _rate_verdict(check, result)
    elif check.name in RUN_NUMBERS:
        yield from _run_verdict(check, result)
    else:
        yield from _layer_verdicts(check, result)


def _wrong_finding(bound: Bound, result: ProbeResult) -> Breach | None:
    """The most severe finding that the bound does not allow, as a breach; ignored findings do not count."""
    findings, verdict = counted(result), verdict_of(result)
    if bound.is_ is not None:
        if bound.is_ == (verdict.rule if verdict else SURVIVES):
            return None
        wrong = verdict
    elif bound.not_:
        wrong = next((finding for finding in findings if finding.rule in bound.not_), None)
    else:
        highest = RANKED_SEVERITIES.index(SEVERITIES[str(bound.max_severity)])
        wrong = next((finding for finding in findings if RANKED_SEVERITIES.index(finding.severity) > highest), None)
    if wrong is None:
        return Breach(VERDICT, None, SURVIVES, str(bound)) if bound.is_ is not None else None
    severity = f" ({wrong.severity})" if bound.max_severity else ""
    return Breach(VERDICT, wrong.layer, f"{wrong.rule}{severity}", str(bound))


def _rate_verdict(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    if len(result.stream) < 2:
        return
    rate = rate_of(result, check.name)
    if rate is not None:
        yield None if check.bound.holds(rate) else Breach(check.name, None, rate, str(check.bound))
        return
    ends = [(layer, layer.tensor(check.name.partition(".")[0])) for layer in (result.stream[0], result.stream[-1])]
    layer, stats = next((layer, stats) for layer, stats in ends if stats.variance_log10 is None)
    why = "undefined, the variance is 0" if stats.variance == 0 else f"lost ({stats.status})"
    yield Breach(check.name, None, None, str(check.bound), f"{why} at layer {layer.layer}")


def _run_verdict(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    value = number_of(result, check.name)
    if value is not None:
        yield None if check.bound.holds(value) else Breach(check.name, None, value, str(check.bound))
    elif check.name in LOSSES and getattr(result, check.name.partition(".")[0]) is not None:
        step = result.training.diverged_at if result.training else None
        why = "beyond the float range" if step is None else f"lost (diverged after step {step})"
        yield Breach(check.name, None, None, str(check.bound), why)


def _layer_verdicts(check: Check, result: ProbeResult) -> Iterator[Breach | None]:
    # Null with the status ok: the number is not defined for this net, at this layer or at any.
    undefined = any(
        value_of(layer, check.name) is None and _status(layer, check.name) == "ok" for layer in result.layers
    )
    for layer in _chosen(check.bound.layers, result.layers):
        value = value_of(layer, check.name)
        if value is not None:
            held = check.bound.holds(abs(value) if check.name == _ABSOLUTE else value)
            yield None if held else Breach(check.name, layer.layer, value, str(check.bound))
        elif not undefined:
            yield Breach(check.name, layer.layer, None, str(check.bound), f"lost ({_status(layer, check.name)})")


def _chosen(which: str | int | tuple[int, ...], layers: Sequence[LayerStats]) -> list[LayerStats]:
    if isinstance(which, str):
        return list({"all": layers, "first": layers[:1], "last": layers[-1:]}[which])
    wanted = (which,) if isinstance(which, int) else which
    return [layer for layer in layers if layer.layer in wanted]


def _status(layer: LayerStats, name: str) -> Status:
    """The worst status of the tensors that a number is computed from."""
    head = name.partition(".")[0]
    if head in TENSORS:
        return layer.tensor(head).status
    if name == _ABSOLUTE and layer.theory:
        return layer.output.status
    sources = {"correlation": ("preactivation",), "gradient_to_weight_ratio": ("weight", "weight_gradient")}
    return worst(layer.tensor(tensor).status for tensor in sources.get(name, ()))
