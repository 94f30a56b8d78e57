"""What is measured of networks of several widths, and the slopes of log rms against log width.

The theory of a slope is local. It takes the measured slope of the layer's input. It adds what fans, weights and
learning rate of the layer do at infinite width (Yang & Hu 2021, arXiv:2011.14522).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from initprobe.arrays import finite
from initprobe.errors import ConfigError
from initprobe.results.coordinate_check import Kind, Quantity, WidthLine

Family = Literal["sgd", "adam"]
_LEVEL = 0.05  # slopes up to this are 0 in theory: they are measured


@dataclass(frozen=True)
class LayerSizes:
    """Root mean squares in one layer of one network; None for what the layer does not have.

    Products with constant numbers after the layer's own product are counted as part of its weights.

    Attributes:
        name: of the layer, equal at all widths.
        kind: what the row is.
        output: of h before training.
        gradient: of dL/dh before training.
        changes: of h after 1, 2, ... steps minus h before training.
        own_changes: of the change of z by an update of W that is aligned with the input, `fan_in rms(dW) rms(input)`.
        rows: samples times positions.
        fan_in: entries that one output sums over.
        fan_out: entries that one input goes to.
        weight: of W before training.
        rate: learning rate of W, which falls with the product's constant factor as the optimizer's update does.
        given: of the layer's input before training.
        given_changes: of the change of this input.
        product: of z before a norm.
        product_gradient: of dL/dz before a norm.
        is_normed: only a norm takes z, so its scale has no effect.
        keeps_scale: h is as large as z up to a constant factor.
        is_inner: the verdict is about what follows, not about this layer.
        parameter: name of the weight.
    """

    name: str
    kind: Kind
    output: float
    gradient: float | None = None
    changes: tuple[float, ...] = ()
    own_changes: tuple[float, ...] = ()
    rows: int = 1
    fan_in: int | None = None
    fan_out: int | None = None
    weight: float | None = None
    rate: float | None = None
    given: float | None = None
    given_changes: tuple[float, ...] = ()
    product: float | None = None
    product_gradient: float | None = None
    is_normed: bool = False
    keeps_scale: bool = True
    is_inner: bool = False
    parameter: str | None = None


@dataclass(frozen=True)
class NetworkSizes:
    """One network: its layers, and its losses before each step and after the last."""

    layers: tuple[LayerSizes, ...]
    losses: tuple[float, ...]


# The networks by width and then by seed.
Networks = Sequence[Sequence[NetworkSizes]]


@dataclass(frozen=True)
class Fit:
    """A straight line through log rms against log width, by least squares over the means of the seeds.

    Attributes:
        slope: of the line.
        error: its standard error. The spread of the seeds may differ between widths. Where the widths lie further from
            the line than that spread allows, the distance counts instead.
    """

    slope: float
    error: float


def fitted(widths: Sequence[int], rms: Sequence[Sequence[float]]) -> Fit | None:
    """The line through the log of `rms` over the log of the width, by least squares.

    Args:
        widths: of the networks.
        rms: by width and then by seed.

    Returns:
        Slope and standard error; None where an entry is 0 or not finite.
    """
    sizes = np.array(rms, float)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        return None
    x, logs = np.log(np.array(widths, float)), np.log(sizes)
    x -= x.mean()
    factors, means = x / (x @ x), logs.mean(axis=1)
    slope = float(factors @ means)
    seeds = logs.shape[1]
    noise = logs.var(axis=1, ddof=1) / seeds if seeds > 1 else np.zeros(len(widths))
    residuals = means - means.mean() - slope * x
    about = residuals @ residuals / (len(widths) - 2) * (factors @ factors) if len(widths) > 2 else 0.0
    return Fit(slope, float(np.sqrt(max(factors**2 @ noise, about))))


class WidthSlopes:
    """The slopes of every quantity of the layers that all networks have.

    Attributes:
        widths: in ascending order.
        names: of these layers, in order.
        missing: names of layers that some networks do not have.
        steps: of training.

    Raises:
        ConfigError: the networks have no layer of the same name.
    """

    def __init__(self, widths: Sequence[int], networks: Networks, family: Family | None) -> None:
        self.widths, self._family = tuple(widths), family
        self._layers = [[{layer.name: layer for layer in network.layers} for network in row] for row in networks]
        every = [by_name for row in self._layers for by_name in row]
        self.names = [name for name in every[0] if all(name in by_name for by_name in every)]
        self.missing = [name for name in dict.fromkeys(itertools.chain(*every)) if name not in self.names]
        if not self.names:
            raise ConfigError("networks of different widths have no layer of the same name, so none can be compared")
        self.steps = len(networks[0][0].losses) - 1

    def first(self, name: str) -> LayerSizes:
        """The layer in the first network."""
        return self._layers[0][0][name]

    def table(self, name: str, size: Callable[[LayerSizes], float | None]) -> list[list[float]]:
        """A number of a layer by width and then by seed; NaN for None.

        Args:
            name: of the layer.
            size: gives the number of a layer.
        """
        numbers = [[size(by_name[name]) for by_name in row] for row in self._layers]
        return [[math.nan if number is None else number for number in row] for row in numbers]

    def fit(self, name: str, size: Callable[[LayerSizes], float | None]) -> Fit | None:
        """The line through a number of a layer.

        Args:
            name: of the layer.
            size: gives the number of a layer.

        Returns:
            None where a number is 0, absent or not finite.
        """
        return fitted(self.widths, self.table(name, size))

    def slope(self, name: str, size: Callable[[LayerSizes], float | None]) -> float | None:
        """The slope of one quantity in one layer; None where there is none.

        Args:
            name: of the layer.
            size: gives the number of a layer.
        """
        line = self.fit(name, size)
        return None if line is None else line.slope

    def fan_slope(self, name: str) -> float | None:
        """The slope of the layer's fan_in: about 0 or 1."""
        return self.slope(name, lambda layer: None if layer.fan_in is None else float(layer.fan_in))

    def lines(self) -> Iterator[WidthLine]:
        """The lines of all layers and quantities."""
        for name in self.names:
            yield self._line(name, "output", 0, lambda layer: layer.output, self._output_theory(name))
            if self.first(name).gradient is not None:
                yield self._line(name, "gradient", 0, lambda layer: layer.gradient, None)
            for step in range(1, self.steps + 1):
                yield from self._changes(name, step)

    def _changes(self, name: str, step: int) -> Iterator[WidthLine]:
        first, index = self.first(name), step - 1
        if all(len(network[name].changes) >= step for row in self._layers for network in row):
            theory = self._change_theory(name, step)
            yield self._line(name, "change", step, lambda layer: _entry(layer.changes, index), theory)
        if len(first.own_changes) >= step:
            theory = self._own_theory(name) if step == 1 else None
            yield self._line(name, "own_change", step, lambda layer: own_change(layer, index), theory)

    def _line(
        self,
        name: str,
        quantity: Quantity,
        step: int,
        size: Callable[[LayerSizes], float | None],
        theory: float | None,
    ) -> WidthLine:
        rms = self.table(name, size)
        line, first = fitted(self.widths, rms), self.first(name)
        finite_rms = tuple(tuple(finite(number) for number in row) for row in rms)
        is_finite = all(number is not None for row in finite_rms for number in row)
        is_last = step == self.steps and quantity in ("change", "own_change")
        return WidthLine(
            layer=name,
            kind=first.kind,
            quantity=quantity,
            step=step,
            status="ok" if line else "zero" if is_finite else "nonfinite",
            rms=finite_rms,
            slope=line and line.slope,
            slope_se=line and line.error,
            theory=theory if line else None,
            judged=not first.is_inner and (is_last or quantity == "output"),
        )

    def _product_theory(self, name: str) -> float | None:
        """The slope of z: independent entries of W, so a sum of fan_in terms grows as its root."""
        fan, weight = self.fan_slope(name), self.slope(name, lambda layer: layer.weight)
        if fan is None or weight is None:
            return None
        return fan / 2 + weight + self._given(name)

    def _given(self, name: str) -> float:
        """The slope of the layer's input; 0 for ids, which have none."""
        return self.slope(name, lambda layer: layer.given) or 0.0

    def _output_theory(self, name: str) -> float | None:
        product = self._product_theory(name)
        if product is None or self.first(name).is_normed:
            return None if product is None else 0.0
        return product if self.first(name).keeps_scale or abs(product) < _LEVEL else None

    def _own_theory(self, name: str) -> float | None:
        """The slope of the layer's own change after one step.

        The update is aligned with the input, so a sum over fan_in terms grows as fan_in itself.
        """
        fan, rate = self.fan_slope(name), self.slope(name, lambda layer: layer.rate)
        gradient = self.slope(name, lambda layer: layer.product_gradient)
        if fan is None or rate is None or gradient is None or self._family is None:
            return None
        own = fan + rate + self._given(name)
        if self._family == "sgd":
            own += gradient + self._given(name)
        return own - self._norm_slope(name)

    def _norm_slope(self, name: str) -> float:
        return (self.slope(name, lambda layer: layer.product) or 0.0) if self.first(name).is_normed else 0.0

    def _change_theory(self, name: str, step: int) -> float | None:
        """The slope of the change of h after the first step, from the update and the change of the input."""
        if step > 1 or self._own_theory(name) is None or not self.first(name).keeps_scale:
            return None
        return self.slope(name, lambda layer: _predicted_change(layer, step - 1))


def _predicted_change(layer: LayerSizes, index: int) -> float | None:
    """The change of z by the update of W, and by the change of its input.

    A sum over n = fan_in terms is aligned up to `sqrt(a + 1/n)`. For the update, a is 1/T with T orthogonal inputs. The
    change of the input is aligned with the rows of a read-out, a = 1/outputs, and with no other W.
    """
    own, passed = _entry(layer.own_changes, index), _entry(layer.given_changes, index)
    if own is None or not layer.fan_in or layer.weight is None:
        return None
    random = 1 / layer.fan_in
    size = own * min(math.sqrt(1 / layer.rows + random), 1.0)
    if passed is not None:
        is_readout = layer.kind == "readout" and layer.fan_out
        aligned = 1 / layer.fan_out if is_readout and layer.fan_out else 0.0
        more = passed * layer.weight * layer.fan_in * math.sqrt(aligned + random)
        size = size + more if is_readout else math.hypot(size, more)  # at a read-out both go along the gradient
    return size if not layer.is_normed else size / layer.product if layer.product else None


def own_change(layer: LayerSizes, index: int) -> float | None:
    """The layer's own change of z, in units of z where a norm follows.

    Args:
        layer: sizes of one layer in one network.
        index: step of training, from 0.

    Returns:
        None where nothing was measured.
    """
    change = _entry(layer.own_changes, index)
    if change is None or not layer.is_normed:
        return change
    return change / layer.product if layer.product else None


def _entry(sizes: Sequence[float], index: int) -> float | None:
    return sizes[index] if index < len(sizes) else None
