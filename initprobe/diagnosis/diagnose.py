"""What a result means: findings as data, each with its evidence.

Rates and trends are judged, not one ratio: a variance that falls as a power of depth (Xavier + tanh) is no collapse,
and a net whose draws differ by a factor of ten (ReLU + He at depth) is not judged by one of them.
"""

from __future__ import annotations

from collections.abc import Callable

from initprobe.config.thresholds import Thresholds
from initprobe.diagnosis.correlation import chaotic_pairs, rank_collapse
from initprobe.diagnosis.float_range import heavy_tailed, status_rule
from initprobe.diagnosis.kinds_of_net import ADDED_KEY, adding_layers
from initprobe.diagnosis.rule import VOID_RULE, Observation, Rule, place_of
from initprobe.diagnosis.signal import gradient_trend, output_trend, unstable_gain
from initprobe.diagnosis.units import (
    dead_layer,
    dead_units,
    no_gradient,
    saturated_units,
    symmetric_units,
    void_parameter,
)
from initprobe.diagnosis.weight_scales import fan_mismatch, odd_layer, wrong_initializer
from initprobe.registry import Registry
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding


def diagnose(
    result: ProbeResult,
    fix: Callable[[], str | None] = lambda: None,
    thresholds: Thresholds | None = None,
    *,
    apart: Callable[[], str | None] = lambda: None,
) -> ProbeResult:
    """The result with its findings, most severe first, then an odd layer, then by the layer where they begin.

    `fix` finds a command line that has none of them; it is asked at most once, and only if something is wrong. `apart`
    finds one under which inputs stay different, asked if nothing else is to be said.
    """
    limits = thresholds or Thresholds()
    seen = [(rule, saw) for rule in RULES.values() if (saw := rule.look(result, limits)) is not None]
    if any(rule.name == VOID_RULE for rule, _ in seen):  # every other number was computed from it
        seen = [(rule, saw) for rule, saw in seen if rule.name == VOID_RULE]
    healthy = all(saw.severity == "info" for _, saw in seen)
    remedy = None if healthy else fix()
    found = [_finding(result, rule, saw, None if saw.severity == "info" else remedy) for rule, saw in seen]
    if healthy:
        found = [one.model_copy(update={"fix": apart()}) if one.rule == "rank-collapse" else one for one in found]
    return result.model_copy(update={"healthy": healthy, "diagnosis": tuple(sorted(found, key=place_of))})


# Rules that name the first layer at which something holds, whatever the other layers are like; and those that name one
# layer or module of several, each for itself. All others speak of the whole net.
FROM_LAYER_ON = ("saturated", "dead-units", "dead-layer", "symmetric", "heavy-tailed-gradient")
LAYER_BY_LAYER = ("no-gradient", "odd-layer", "void-parameter")


def elsewhere(
    result: ProbeResult, finding: Finding, spared: Callable[[int | None, str | None], bool], thresholds: Thresholds
) -> Finding | None:
    """What the finding's rule sees beside the layers and modules that are `spared`, by number and name."""
    void = result.config.get("void")
    names = {name: words for name, words in void.items() if not spared(None, name)} if isinstance(void, dict) else {}
    left = result.model_copy(
        update={
            "layers": tuple(one for one in result.layers if not spared(one.layer, one.name)),
            "modules": tuple(one for one in result.modules if not spared(one.layer, one.name)),
            # Where branches end shows in the whole net alone.
            "config": result.config
            | {ADDED_KEY: list(adding_layers(result))}
            | ({"void": names} if names or void else {}),
        }
    )
    saw = RULES[finding.rule].look(left, thresholds) if left.layers else None
    return None if saw is None else _finding(result, RULES[finding.rule], saw, finding.fix)


def _finding(result: ProbeResult, rule: Rule, saw: Observation, remedy: str | None) -> Finding:
    return Finding(
        rule=rule.name,
        name=rule.name.replace("-", " "),
        severity=saw.severity,
        layer=saw.layer,
        evidence=saw.evidence,
        cause=saw.cause or rule.meaning,
        fix=remedy,
        module=saw.module or result.layers[saw.layer - 1].name,
    )


_GLOROT = "Glorot & Bengio 2010, AISTATS 9:249"
_DEEP_INFORMATION = "Schoenholz et al. 2017, arXiv:1611.01232"

RULES: Registry[Rule] = Registry(
    "rule",
    [
        Rule(
            name="vanishing-output",
            meaning="the weights are too small for this activation, so the signal shrinks by a factor at every layer",
            measurement="log variance of h over depth: steady rate times depth, beyond the predicted spread",
            remedy="larger weights: the forward gain of the activation",
            reference=_GLOROT,
            look=output_trend(-1),
        ),
        Rule(
            name="exploding-output",
            meaning="the weights are too large for this activation, so the signal grows by a factor at every layer",
            measurement="log variance of h over depth: steady rate times depth, beyond the predicted spread",
            remedy="smaller weights: the forward gain of the activation; in a residual net --branch-scale 1/sqrt(2L)",
            reference="He et al. 2015, arXiv:1502.01852",
            look=output_trend(1),
        ),
        Rule(
            name="vanishing-gradient",
            meaning="width x Var(W) times the mean squared slope is below 1, so the gradient shrinks on its way back",
            measurement="log variance of dL/dh, else dL/dW, over depth: steady rate times depth, beyond chance",
            remedy="larger weights, or an activation with a larger slope where its inputs are",
            reference=_GLOROT,
            look=gradient_trend(-1),
        ),
        Rule(
            name="exploding-gradient",
            meaning="width x Var(W) times the mean squared slope is above 1, so the gradient grows on its way back",
            measurement="log variance of dL/dh, else dL/dW, over depth: steady rate times depth, beyond chance",
            remedy="smaller weights; in a residual net --branch-scale 1/sqrt(2L)",
            reference=_DEEP_INFORMATION,
            look=gradient_trend(1),
        ),
        Rule(
            name="saturated",
            meaning="most units sit on the flat ends of the activation",
            measurement="share of outputs whose slope is below 5.9% of the largest (tanh beyond 0.97)",
            remedy="smaller weights or biases",
            reference="CS231n 2017, lecture 6",
            look=saturated_units,
        ),
        Rule(
            name="dead-units",
            meaning="most units are off for every input and will not learn",
            measurement="share of units at exactly 0 for every sample of every batch",
            remedy="no negative biases, smaller steps, or an activation with a slope on the negative side",
            reference="Lu et al. 2019, arXiv:1903.06733",
            look=dead_units,
        ),
        Rule(
            name="dead-layer",
            meaning="a whole layer is 0, so nothing passes, forward or back",
            measurement="a layer whose outputs are all exactly 0",
            remedy="random weights, no large negative biases; --block 2 for branches that --zero-init-last shuts",
            reference="Lu et al. 2019, arXiv:1903.06733",
            look=dead_layer,
        ),
        Rule(
            name="no-gradient",
            meaning="nothing comes back from the output to this weight, so it will never learn",
            measurement="a layer whose dL/dW is 0 everywhere, or absent though asked for; not judged in nets of `run`",
            remedy="no detach, no_grad or product with 0 between the layer and the loss, and a loss that depends on it",
            reference="PyTorch documentation, autograd mechanics",
            look=no_gradient,
        ),
        Rule(
            name=VOID_RULE,
            meaning="one NaN or infinity in a parameter makes all that is computed from it NaN",
            measurement="every entry of every parameter and buffer; not judged in nets of `run`",
            remedy="a checkpoint from before the parameter was lost, or the parameter drawn anew",
            reference="IEEE 754-2019",
            look=void_parameter,
        ),
        Rule(
            name="symmetric",
            meaning="identical units get identical gradients and stay identical for ever, whatever the data",
            measurement="a layer whose weights are all equal",
            remedy="random weights",
            reference="Goodfellow et al. 2016, Deep Learning, section 8.4",
            look=symmetric_units,
        ),
        Rule(
            name="rank-collapse",
            meaning="different inputs become indistinguishable, which the variance does not show",
            measurement="mean cosine c between two inputs' z, and q(1 - c), the part of z's mean square that differs",
            remedy="no plain initializer of a ReLU-like net avoids it; weak residual branches do, --branch-scale 1/L",
            reference="Poole et al. 2016, arXiv:1606.05340",
            look=rank_collapse,
        ),
        Rule(
            name="chaotic",
            meaning="like inputs become unlike, so what one example teaches says nothing of its neighbour",
            measurement="mean cosine between two inputs' z, first layer against last",
            remedy="smaller weights: the edge of chaos",
            reference=_DEEP_INFORMATION,
            look=chaotic_pairs,
        ),
        Rule(
            name="heavy-tailed-gradient",
            meaning="a few units carry the whole gradient while the typical one gets next to none",
            measurement="rms of dL/dz over the median of its magnitude",
            remedy="smaller weights: saturated forward, such a net explodes backward",
            reference="Hanin & Nica 2020, arXiv:1812.05994",
            look=heavy_tailed,
        ),
        Rule(
            name="unstable-gain",
            meaning="the length map is steeper than 1 here, so no constant gain holds the scale at depth",
            measurement="largest predicted d log q_l / d log q_(l-1), to the power of the depth",
            remedy="--norm layer or --residual; a gain only moves the depth at which it slips",
            reference="Poole et al. 2016, arXiv:1606.05340; Hayou et al. 2019, arXiv:1902.06853",
            look=unstable_gain,
        ),
        Rule(
            name="fan-mismatch",
            meaning="the weights are scaled by the units they lead to, not by the units they sum over",
            measurement="fan_out Var(W) the same in every layer while fan_in Var(W) varies",
            remedy="mode=fan_in; fan_out keeps the gradient's variance instead",
            reference="He et al. 2015, arXiv:1502.01852",
            look=fan_mismatch,
        ),
        Rule(
            name="odd-layer",
            meaning="one layer's weights are drawn on another scale than all others, which is mostly a mistake",
            measurement="sqrt(fan_in E[W^2]) of a module, or of a layer of --weights, against the median",
            remedy="the initializer of the other layers",
            reference=_GLOROT,
            look=odd_layer,
        ),
        Rule(
            name="wrong-initializer",
            meaning="these weights are a customary rule's, but of one made for another activation",
            measurement="fan_in Var(W) against the factor that the signal meets at every layer",
            remedy="the rule made for this activation",
            reference="He et al. 2015, arXiv:1502.01852",
            look=wrong_initializer,
        ),
        Rule(
            name="underflow",
            meaning="numbers fell below the normal range of the dtype",
            measurement="the status of each tensor",
            remedy="weights that keep the variance; --dtype float64 only moves the layer where it begins",
            reference="IEEE 754-2019",
            look=status_rule("underflow"),
        ),
        Rule(
            name="overflow",
            meaning="numbers grew beyond the dtype and became infinite, then NaN",
            measurement="the status of each tensor",
            remedy="weights that keep the variance; --dtype float64 only moves the layer where it begins",
            reference="IEEE 754-2019",
            look=status_rule("overflow", "nonfinite"),
        ),
    ],
)
