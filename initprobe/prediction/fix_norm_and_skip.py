"""Fixes for any network: other weights, norms or skips, chosen by what theory predicts for the changed experiment.

A fix keeps every given option but the weights, if any such fix works. Candidates come in order of how much they change.
The first one that is predicted to pass the verdict, and passes it when it is run, is offered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np

from initprobe.activations.skips import PLAIN, branches, wirings
from initprobe.config.arguments import ConfigChanges
from initprobe.config.probe_config import ProbeConfig
from initprobe.diagnosis.correlation import least_distance
from initprobe.meanfield.input_moments import InputMoments
from initprobe.meanfield.predict import LayerTheory, predict
from initprobe.prediction.command_line import command_line
from initprobe.prediction.fix_plain import PlainFixes, changed, common_initializers, level_gains
from initprobe.prediction.fix_trial import FixSearch, Works, differ_by_scale
from initprobe.prediction.fix_wider import wider, with_units
from initprobe.prediction.forecast import COMMON_SHARE, Forecast, Network
from initprobe.prediction.infinite_width import norm_and_skip_theory
from initprobe.prediction.rules import no_series, rules_of
from initprobe.prediction.typical import HALF, loss_probability
from initprobe.results.summary import TypicalDraw
from initprobe.spec import Spec

_PLAIN: ConfigChanges = {"norm": "none", "residual": False, "block": 1, "branch_scale": 1.0, "zero_init_last": False}
_PLAIN_WITHOUT_BIASES: ConfigChanges = {**_PLAIN, "bias_init": None}
# Candidates with the same structure and biases; after so many, one of these changes.
_MOST_ALIKE = 4
# A factor of the widths at which first-order corrections in 1/width are small.
_WIDE = 32
# Below this width draws differ so much that wider layers may be the only fix.
_NARROW = 16
# An initializer that no candidate equals in variance.
_PLACEHOLDER = "zeros"
# The second, weaker, is for activations whose mean would otherwise add up over the layers.
_SCALES = ("1/sqrt(2L)", "1/L")
# What is added to a network without norm and skips, simplest first.
_ADDED: tuple[ConfigChanges, ...] = (
    {"norm": "layer"},
    {"residual": True, "branch_scale": _SCALES[0]},
    {"norm": "layer", "residual": True, "branch_scale": _SCALES[0]},
    {"residual": True, "branch_scale": _SCALES[1]},
)


def fix_for(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, works: Works, typical: TypicalDraw | None
) -> str | None:
    """An `initprobe run` line, or None where no change that theory knows keeps the signal.

    First wider layers if the network is too deep for its width. Then with every option kept but the weights, then with
    zero biases, then without norm and skips. A line is tried before it is offered.

    Args:
        config: of the network with a finding.
        sizes: features of the input, then units of each layer.
        inputs: moments of the input.
        works: runs a changed experiment; True if its verdict is healthy.
        typical: what a typical draw of the network keeps of the signal, if that is known.
    """
    if not _has_names(config):
        return None
    too_deep = typical is not None and typical.loss_probability > HALF
    fixed = FixSearch(config, works).first(_candidates(config, sizes, inputs, too_deep))
    return None if fixed is None else command_line(fixed)


def _candidates(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, too_deep: bool
) -> Iterator[ProbeConfig]:
    """The changed experiments that theory predicts to hold, least changed first; wider ones if it is too deep."""
    if inputs.are_equal or not inputs.mean_squares.any():
        return  # no network has a signal then
    yield from _with_other_input(config)
    if config.network is not None:
        yield from _that_hold(_weaker_branches(config), sizes, inputs)
    elif too_deep:
        yield from _wider_ones(config, inputs)
        yield from _that_hold(_with_norm_or_skips(changed(config, bias_init=None)), sizes, inputs)
        return
    config = _with_drawn_weights(config)
    bare = changed(config, bias_init=None)
    for candidate in [config, bare] if isinstance(config.bias_init, Spec) else [bare]:
        yield from islice(_structure_kept(candidate, config, sizes, inputs), _MOST_ALIKE)
    plain = changed(bare, **_PLAIN)
    fixes = PlainFixes(plain, sizes, inputs, config)
    if not config.is_plain:
        yield from fixes.predicted()
        yield from _that_hold(_with_norm_or_skips(plain), sizes, inputs)
    if min(sizes[1:]) < _NARROW:
        yield from _wider_ones(plain, inputs)
    yield from fixes.doubtful()
    yield from (each for each in _with_norm_or_skips(plain) if holds(each, sizes, inputs, distinct=False))


def _with_other_input(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same network with its data standardized, where they are not: raw data may be the whole fault."""
    if config.noise is None and not config.standardize:
        yield changed(config, standardize=True)


def _wider_ones(config: ProbeConfig, inputs: InputMoments) -> Iterator[ProbeConfig]:
    """Wider layers with the given weights, then with common ones, where theory predicts level variances."""
    for weights in (config, *_with_common_weights(changed(config, bias_init=None))):
        yield from wider_that_holds(weights, inputs)


def wider_that_holds(config: ProbeConfig, inputs: InputMoments) -> Iterator[ProbeConfig]:
    """The network of `wider`, if the variances of a much wider network are predicted to stay level.

    Args:
        config: of a plain network whose weights are drawn.
        inputs: moments of the input.
    """
    wide = with_units(config, [_WIDE * width for width in config.layer_widths])
    if holds(wide, wide.nominal_sizes, inputs):
        yield from wider(config, inputs)


def _structure_kept(
    config: ProbeConfig, original: ProbeConfig, sizes: Sequence[int], inputs: InputMoments
) -> Iterator[ProbeConfig]:
    """Experiments that keep norm, skips and biases, or add a norm or skips."""
    if not config.is_plain:
        yield from _that_hold(chain(_weaker_branches_first(config), _with_norm_or_skips(config)), sizes, inputs)
        return
    if config.bias_init is None:
        fixes = PlainFixes(config, sizes, inputs, original)
        yield from (each for each in fixes.predicted() if _keeps_apart(each, _in_theory(each, sizes, inputs), inputs))
    else:
        others = _with_common_weights(config, level_gains(config.activation))
        yield from _that_hold(others, sizes, inputs)
    yield from _that_hold(_with_norm_or_skips(config), sizes, inputs)


def _weaker_branches_first(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """Weaker branches, then other weights, then both; other weights come first where a branch scale was given."""
    weaker = list(_weaker_branches(config))
    given = config.branch_scale != _PLAIN["branch_scale"]
    yield from [] if given else weaker
    yield from _with_common_weights(config)
    yield from weaker if given else []
    for candidate in weaker:
        yield from _with_common_weights(candidate)


def _weaker_branches(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same residual network with weaker branches; branches that start at 0 get two layers, so that they learn."""
    if config.zero_init_last and config.block == 1 and len(config.layer_widths) % 2 == 0:
        yield changed(config, block=2)
    for scale in _SCALES if config.residual else ():
        weaker = changed(config, branch_scale=scale)
        if abs(weaker.branch_factor) < abs(config.branch_factor):
            yield weaker


def _with_norm_or_skips(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """The network with an added norm or skips, first with its own weights if it has one of these."""
    for added in _ADDED:
        if (config.norm != "none" and "norm" in added) or (config.residual and "residual" in added):
            continue
        yield from [] if config.is_plain else [changed(config, **added)]
        # Both at once: weights that are fitted to data allow neither norm nor skips.
        for init in common_initializers(config.activation):
            with_weights: ConfigChanges = {**added, "init": init}
            yield changed(config, **with_weights)


def fix_for_indistinct_inputs(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, works: Works
) -> str | None:
    """A line under which different inputs stay different, for a network without other findings; None if there is none.

    Args:
        config: of the network.
        sizes: features of the input, then units of each layer, `(layers + 1,)`.
        inputs: moments of the input.
        works: tries a candidate; True if no finding is left and inputs stay different.
    """
    if not _has_names(config):
        return None
    alike = inputs.cosine > 1 - config.thresholds.indistinct  # no network separates such samples
    others = () if alike else _that_separate(config, sizes, inputs)
    fixed = FixSearch(config, works).first(chain(_with_other_input(config), others))
    return None if fixed is None else command_line(fixed)


def _that_separate(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> Iterator[ProbeConfig]:
    """Changed experiments under which different inputs are predicted to stay different."""
    config = _with_drawn_weights(config)
    fitted = config.initializer.fit is not None  # fitted weights need a plain network
    skipped = [] if fitted else [*_weaker_branches(config), *_with_skips(config)]
    rest = chain(_with_norm_or_skips(config), _with_norm_or_skips(changed(config, bias_init=None)))
    plain = changed(config, **_PLAIN_WITHOUT_BIASES)
    return _that_hold(chain(skipped, rest, _with_norm_or_skips(plain)), sizes, inputs)


def _with_skips(config: ProbeConfig) -> Iterator[ProbeConfig]:
    """The same weights with skips added."""
    for added in _ADDED:
        if added.get("residual") and not config.residual and not (config.norm != "none" and "norm" in added):
            yield changed(config, **added)


def _has_names(config: ProbeConfig) -> bool:
    """Whether weights and activation can be named on a command line; a record from Python cannot."""
    named = isinstance(config.init, Spec) or config.weights is not None
    return named and isinstance(config.act, Spec)


def _with_drawn_weights(config: ProbeConfig) -> ProbeConfig:
    """The same experiment with a placeholder for weights from a file, which candidates replace."""
    network = config.network
    if network is None:
        return config
    features, *widths = network.sizes
    level = len(set(widths)) == 1
    shape: ConfigChanges = {"layers": len(widths), "width": widths[0]} if level else {"widths": tuple(widths)}
    if config.noise is not None and features != widths[0]:
        shape["input_width"] = features
    drawn: ConfigChanges = {**shape, "weights": None, "init": _PLACEHOLDER}
    return changed(config, **drawn)


def _with_common_weights(config: ProbeConfig, more: Iterable[str] = ()) -> Iterator[ProbeConfig]:
    """The same network and biases with common weights, then with the weights named in `more`."""
    return (changed(config, init=init) for init in (*common_initializers(config.activation), *more))


def _that_hold(candidates: Iterable[ProbeConfig], sizes: Sequence[int], inputs: InputMoments) -> Iterator[ProbeConfig]:
    """The candidates that are predicted to hold."""
    failed: list[ProbeConfig] = []
    for candidate in candidates:
        if any(differ_by_scale(candidate, other, tuple(sizes)) for other in failed):
            continue
        if holds(candidate, sizes, inputs):
            yield candidate
        else:
            failed.append(candidate)


def holds(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, *, distinct: bool = True) -> bool:
    """Whether the verdict would find nothing.

    Args:
        config: of the network.
        sizes: features of the input, then units of each layer.
        inputs: moments of the input.
        distinct: whether inputs must not become alike either, with norms or skips.
    """
    if no_series(config, sizes, inputs, _batch(config, inputs)) or (
        config.residual and not branches(sizes, config.block)
    ):
        return False
    with np.errstate(all="ignore"):
        series = None if config.is_plain else norm_and_skip_theory(config, sizes, inputs, _batch(config, inputs))
        layers = _in_theory(config, sizes, inputs) if series is None else series.layers
        if not _stays_level(config, sizes, inputs, layers, distinct):
            return False
    # Last, since it takes longest: the layers between branches may lose the signal.
    return not (config.residual and (loss_probability(config, sizes, inputs, series) or 0.0) > HALF)


def _stays_level(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, layers: Sequence[LayerTheory], distinct: bool
) -> bool:
    """Whether the variances of a network are predicted to stay level, and its inputs to stay different."""
    steepest = np.nanmax([0.0, *(layer.length_slope for layer in layers)])
    if steepest ** (len(layers) - 1) >= config.thresholds.unstable:
        return False
    forecast, cosines = _forecast(config, sizes, inputs, layers)
    alike = 1 - config.thresholds.indistinct
    if config.is_plain:
        apart = _keeps_apart(config, layers, inputs)
    else:
        apart = not distinct or not cosines[0] < alike < max(cosines)
    return apart and forecast.holds(COMMON_SHARE)


def _keeps_apart(config: ProbeConfig, layers: Sequence[LayerTheory], inputs: InputMoments) -> bool:
    """Whether a plain network keeps some distance between two inputs, by the verdict's limit; True if unknown."""
    least = (1 - inputs.cosine) * least_distance(config.thresholds)
    return not 1 - layers[-1].correlation < least


def _in_theory(config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments) -> tuple[LayerTheory, ...]:
    """The prediction for each layer of a plain network; weight gradients are those of one sample."""
    return predict(config.activation, rules_of(config, sizes), inputs, 1)


def _batch(config: ProbeConfig, inputs: InputMoments) -> int:
    """The number of samples in one batch."""
    return config.batch or len(inputs.mean_squares) // (config.draws * config.batches)


def _forecast(
    config: ProbeConfig, sizes: Sequence[int], inputs: InputMoments, layers: Sequence[LayerTheory]
) -> tuple[Forecast, list[float]]:
    """The forecast of one network, and the cosine of two inputs at each layer that begins outside branches."""
    around = wirings(config, sizes)
    stream = [layer for layer, wiring in zip(layers, around, strict=True) if not wiring.inside]
    numbers = [number for number, wiring in enumerate(around, start=1) if not wiring.inside]
    # With a branch scale of 0, which is the first to learn, dL/dW is 0.
    last = "weight_gradient" if config.branch_factor else "output_gradient"
    output, gradient, weight = (
        np.log10([[getattr(layer, f"{name}_variance") for layer in stream]])
        for name in ("output", "output_gradient", last)
    )
    # Each layer of these maps has its own groups of samples.
    acting = [
        layer.state
        for layer, wiring in zip(layers, around, strict=True)
        if wiring.acting(config.activation) is config.activation
    ]
    lengths, shares = [state.variance[None] for state in acting], [state.shares for state in acting]
    before = (PLAIN, *around)
    cosines = [layer.correlation for layer, below in zip(layers, before, strict=False) if not below.inside]
    network = Network.of(config, sizes, inputs)
    return Forecast(network, output, gradient, weight, lengths, np.zeros(1), shares, numbers), cosines
