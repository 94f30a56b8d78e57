"""An input that is not standardized."""

from __future__ import annotations

from collections.abc import Iterator

from initprobe.diagnosis.rule import RuleText
from initprobe.formatting import short
from initprobe.torch.verdict.case import Case, back_path
from initprobe.torch.verdict.model_rule import ModelRule
from initprobe.torch.verdict.observations import Fix, Observation


def _observe(case: Case) -> Iterator[Observation]:
    """The first layer that is given an input directly, where that is far from mean 0 and variance 1."""
    for layer in case.layers:
        if len(layer.op.inputs) != 1 or layer.op.kind != "layer" or layer.is_embedding:
            continue
        *parts, source = back_path(layer.op.inputs[0], ("part",))
        is_changed = any(signal.steps for signal in (*parts, source))  # as by sin and cos in an embedding of time
        given = layer.op.given if is_changed else source.op.output
        if source.op.kind != "input" or given is None or not given.square > case.limits.input_rms**2:
            continue
        mean, std = given.mean, given.variance**0.5
        yield Observation(
            "input-scale",
            "warning",
            layer.number,
            f"the input has mean {short(mean)} and std {short(std)}",
            "it is not standardized; initializers are made for mean 0 and variance 1",
            layer.label,
            (Fix(f"x = (x - {mean:.4g}) / {std:.4g}", standardize=(mean, std)),) if std > 0 else (),
        )
        return


RULES = (
    ModelRule(
        _observe,
        texts=(
            RuleText(
                name="input-scale",
                meaning="the input is not standardized, and initializers are made for mean 0 and variance 1",
                measurement="root mean square of an input that a layer takes unscaled",
                remedy="subtract the mean of the data and divide by its standard deviation",
                reference="LeCun et al. 1998, Efficient BackProp",
            ),
        ),
        causes=("input-scale",),
    ),
)
