"""The networks of an experiment: drawn, fitted to the data where their initializer asks for it, held or made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from initprobe.arrays import Array
from initprobe.engine import mlp
from initprobe.engine.data_fit import fit_layer
from initprobe.engine.fitted import Fitted, outputs
from initprobe.engine.mlp import Parameters
from initprobe.engine.streams import Streams
from initprobe.engine.threads import Workers, available_threads, workers
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.fit_settings import Fit
from initprobe.initializers.weight_files import Layer as Given
from initprobe.probe.experiment import Experiment, input_rows, seed_gradient
from initprobe.probe.passes import Steps, Trace


class _Remade(Sequence[Parameters]):
    """The layers of a network that is not held, each made again from its seed when it is asked for, as of a list."""

    def __init__(self, make: Callable[[int], Parameters], layers: int) -> None:
        self._make, self._layers = make, layers

    def __len__(self) -> int:
        return self._layers

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._make(layer) for layer in range(self._layers)[index]]
        return self._make(range(self._layers)[index])


def hold_network(
    experiment: Experiment, streams: Streams, trace: Trace, pool: Workers, steps: Steps
) -> tuple[Sequence[Parameters], list[Fitted]]:
    """The layers of one network, in memory where all of them are held at a time."""
    if len(trace.segments) == 1:
        return draw_network(experiment, streams, pool, steps)
    return _Remade(lambda index: parameters(experiment, streams, index + 1, pool), len(experiment.fans)), []


def draw_network(
    experiment: Experiment, streams: Streams, pool: Workers, steps: Steps
) -> tuple[list[Parameters], list[Fitted]]:
    """The layers of one network, each fitted to what the ones before it make of the first batch, if it is fitted."""
    fit, activation = experiment.config.initializer.fit, experiment.config.activation
    network = _drawn(experiment, streams, range(1, len(experiment.fans) + 1), pool)
    fitted = []
    h = input_rows(experiment, streams, 0, experiment.batch, pool) if fit else None
    for index, layer in enumerate(network):
        if fit is not None and h is not None:
            advance = partial(steps.advance, fit_share(fit))
            network[index], found = fit_layer(fit, layer, activation, h, streams, index + 1, pool, advance)
            fitted.append(found)
            h = outputs(network[index], activation, h, pool)
            steps.advance()
    return network, fitted


def fit_share(fit: Fit) -> int:
    """Products of a layer in each of the steps that a fit counts."""
    return max(round(fit.products / fit.steps), 1)


def network_of(experiment: Experiment, streams: Streams, pool: Workers) -> list[Parameters]:
    """The layers of one network; the same streams give the same numbers."""
    return draw_network(experiment, streams, pool, Steps(None, 0))[0]


def parameters(experiment: Experiment, streams: Streams, layer: int, pool: Workers) -> Parameters:
    """The weights and bias of one layer as they are drawn, or read; the same streams give the same numbers."""
    return _drawn(experiment, streams, [layer], pool)[0]


def _drawn(experiment: Experiment, streams: Streams, layers: Sequence[int], pool: Workers) -> list[Parameters]:
    """Weights and biases of some layers, read, or drawn with the blocks of all of them shared among the threads."""
    if experiment.config.network is not None:
        return [_copied(experiment.config.network.layers[layer - 1], experiment.dtype) for layer in layers]
    config, found, fillings = experiment.config, [], []
    for layer in layers:
        fans = experiment.fans[layer - 1]
        init = INITIALIZERS["zeros"] if experiment.wirings[layer - 1].zero else config.initializer
        weight = np.empty(fans, experiment.dtype)
        fillings += mlp.fillings(init, streams, layer, weight)
        bias = mlp.sample_bias(config.bias_initializer, streams, layer, fans, experiment.dtype)
        found.append(Parameters(weight, bias))
    pool.map(lambda fill: fill(), fillings)
    return found


def _copied(given: Given, dtype: np.dtype[Any]) -> Parameters:
    """A layer that was read; a copy, for training works in place."""
    return Parameters(given.weight.astype(dtype), None if given.bias is None else given.bias.astype(dtype))


def first_network(experiment: Experiment) -> dict[str, Array]:
    """The arrays of the first draw, to redo the run elsewhere: `W1..`, `b1..`, first batch `x`, backward seed `g`."""
    streams = Streams(experiment.config.seed, 0)
    arrays: dict[str, Array] = {}
    with workers(available_threads()) as pool:
        arrays["x"] = input_rows(experiment, streams, 0, experiment.batch, pool)
        arrays["g"] = seed_gradient(experiment, streams, 0, experiment.batch, pool)
        for number, layer in enumerate(network_of(experiment, streams, pool), start=1):
            arrays[f"W{number}"] = layer.weight
            arrays[f"b{number}"] = (
                np.zeros(layer.weight.shape[1], layer.weight.dtype) if layer.bias is None else layer.bias
            )
    return arrays
