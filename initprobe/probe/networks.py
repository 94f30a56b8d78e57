"""The networks of an experiment: drawn, fitted to the data if the initializer does so, held or made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from initprobe.arrays import Array
from initprobe.engine import mlp
from initprobe.engine.mlp import Layer, Parameters
from initprobe.engine.room import Room
from initprobe.engine.streams import Streams
from initprobe.engine.threads import Workers, available_threads, workers
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.fit_settings import Fit
from initprobe.probe.experiment import Experiment, input_rows, seed_gradient
from initprobe.probe.progress import Steps

if TYPE_CHECKING:
    from initprobe.engine.fitted import Fitted
    from initprobe.initializers.weight_files import Layer as SavedLayer


class RemadeLayers(Sequence[Layer]):
    """The layers of a network that is not held: each is made again from its seed whenever it is read."""

    def __init__(self, make: Callable[[int], Layer], layers: int) -> None:
        """`make` makes a layer, counted from 0, of so many `layers`."""
        self._make, self._layers = make, layers

    def __len__(self) -> int:
        return self._layers

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> list[Layer]: ...
    def __getitem__(self, index: int | slice) -> Layer | list[Layer]:
        if isinstance(index, slice):
            return [self._make(layer) for layer in range(self._layers)[index]]
        return self._make(range(self._layers)[index])


def remade_layers(experiment: Experiment, streams: Streams, pool: Workers) -> RemadeLayers:
    """The layers of one network, none of which is held.

    Args:
        experiment: the initializer and the sizes.
        streams: the random streams of the network.
        pool: the threads.
    """

    def make(index: int) -> Layer:
        weights = parameters(experiment, streams, index + 1, pool)
        return Layer(weights, experiment.config.activation, experiment.wirings[index])

    return RemadeLayers(make, len(experiment.fans))


def layers_of(experiment: Experiment, network: Sequence[Parameters]) -> list[Layer]:
    """Parameters joined with the activation and the wiring of their layers.

    Args:
        experiment: activation and wiring.
        network: parameters, first layer to last.
    """
    activation = experiment.config.activation
    return [Layer(own, activation, wiring) for own, wiring in zip(network, experiment.wirings, strict=True)]


def draw_network(
    experiment: Experiment, streams: Streams, pool: Workers, steps: Steps, room: Room | None = None
) -> tuple[list[Parameters], list[Fitted]]:
    """Draw the layers of one network. If the initializer fits weights, fit each layer to its input on the first batch.

    Args:
        experiment: the initializer and the sizes.
        streams: the random streams of the network.
        pool: the threads.
        steps: advanced by what is fitted.
        room: memory for the weights; None for new memory.

    Returns:
        The parameters, first layer to last, and what fitting reports of each; empty without a fit.

    Raises:
        ConfigError: an autoencoder diverges.
    """
    fit, activation = experiment.config.initializer.fit, experiment.config.activation
    network = _drawn(experiment, streams, range(1, len(experiment.fans) + 1), pool, room)
    if fit is None:
        return network, []
    from initprobe.engine.data_fit import FitContext, fit_layer
    from initprobe.engine.fitted import outputs

    reports, advance = [], partial(steps.advance, fit_share(fit))
    h = input_rows(experiment, streams, 0, experiment.batch, pool)
    for index, drawn in enumerate(network):
        context = FitContext(index + 1, streams, pool, advance)
        network[index], report = fit_layer(fit, Layer(drawn, activation), h, context)
        reports.append(report)
        h = outputs(Layer(network[index], activation), h, pool)
        steps.advance()
    return network, reports


def fit_share(fit: Fit) -> int:
    """Steps of progress that one step of a fit takes."""
    return max(round(fit.products / fit.steps), 1)


def network_of(experiment: Experiment, streams: Streams, pool: Workers) -> list[Parameters]:
    """The parameters of one network, first layer to last; the same streams give the same numbers.

    Args:
        experiment: shapes and distributions.
        streams: random numbers of the draw.
        pool: threads.
    """
    return draw_network(experiment, streams, pool, Steps(None, 0))[0]


def parameters(experiment: Experiment, streams: Streams, layer: int, pool: Workers) -> Parameters:
    """The parameters of one layer, counted from 1, as drawn or read; the same streams give the same numbers.

    Args:
        experiment: what is measured.
        streams: of the draw.
        layer: its number, from 1.
        pool: the threads.
    """
    return _drawn(experiment, streams, [layer], pool)[0]


def _drawn(
    experiment: Experiment, streams: Streams, layers: Sequence[int], pool: Workers, room: Room | None = None
) -> list[Parameters]:
    """The parameters of some layers, read or drawn; the threads share the blocks of all these layers."""
    if experiment.config.network is not None:
        return [_copied(experiment.config.network.layers[layer - 1], experiment.dtype) for layer in layers]
    config, network, fillings, room = experiment.config, [], [], room or Room()
    for layer in layers:
        fans = experiment.fans[layer - 1]
        init = INITIALIZERS["zeros"] if experiment.wirings[layer - 1].zero else config.initializer
        weight = room.empty(fans, experiment.dtype)
        fillings += mlp.fillings(init, streams, layer, weight)
        bias = mlp.sample_bias(config.bias_initializer, streams, layer, fans, experiment.dtype)
        network.append(Parameters(weight, bias))
    pool.map(lambda fill: fill(), fillings)
    return network


def _copied(saved: SavedLayer, dtype: np.dtype[Any]) -> Parameters:
    """The parameters of a layer of a weight file; a copy, since training works in place."""
    return Parameters(saved.weight.astype(dtype), None if saved.bias is None else saved.bias.astype(dtype))


def first_network(experiment: Experiment) -> dict[str, Array]:
    """The arrays of the first draw, to repeat the run elsewhere.

    Returns:
        Weights `W1..`, `(fan_in, fan_out)`; biases `b1..`; the first batch `x`; and `g`, dL/dh of the last layer.
    """
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
