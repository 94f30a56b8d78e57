"""Operations with known moments: in closed form, to hold simulations and the rules of theory to.

Each truth says what an operation makes of normal entries. It gives the mean square of the output, and that of the
gradient with respect to the input. There the gradient of the output is independent N(0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from initprobe.arrays import normal_cdf, normal_density


@dataclass(frozen=True)
class Truth:
    """An operation, the distribution of its input, and what is known of its output.

    Attributes:
        name: of the operation and its setting.
        operation: a function of one tensor.
        shape: of the input; the first axis is that of samples.
        mean: of the entries of the input.
        variance: of the entries of the input about their mean.
        shared: correlation of the entries of one channel at different positions; channels are along axis 1.
        square: mean square of the output.
        gradient: mean square of the gradient with respect to the input.
        slack: relative error of the closed form itself, derived beside it.
    """

    name: str
    operation: Callable[[Any], Any]
    shape: tuple[int, ...]
    square: float
    gradient: float
    mean: float = 0.0
    variance: float = 1.0
    shared: float = 0.0
    slack: float = 0.0

    def simulated(self, draws: int, generator: Any) -> tuple[Any, Any]:
        """Mean squares of the output and of the gradient in each of some independent draws, each `(draws,)`."""
        squares = [self._draw(generator) for _ in range(draws)]
        squares, gradients = (torch.tensor(column, dtype=torch.float64) for column in zip(*squares, strict=True))
        return squares, gradients

    def _draw(self, generator: Any) -> tuple[float, float]:
        x = self.given(generator).requires_grad_()
        y = self.operation(x)
        (gradient,) = torch.autograd.grad(y, x, torch.randn(y.shape, generator=generator))
        return float(y.detach().double().square().mean()), float(gradient.double().square().mean())

    def given(self, generator: Any) -> Any:
        """One input."""
        own = torch.randn(self.shape, generator=generator)
        if self.shared:
            positions = (1,) * (len(self.shape) - 2)
            common = torch.randn((*self.shape[:2], *positions), generator=generator)
            own = math.sqrt(1 - self.shared) * own + math.sqrt(self.shared) * common
        return self.mean + math.sqrt(self.variance) * own


def attended(x: Any) -> Any:
    """Attention whose logits are all 0, over the positions of one channel axis: `(samples, width, tokens)`."""
    values = x.transpose(1, 2)[:, None]
    queries = torch.zeros_like(values).detach()
    return F.scaled_dot_product_attention(queries, queries, values)


def causal(x: Any) -> Any:
    """The same, where a token attends to itself and to those before it."""
    values = x.transpose(1, 2)[:, None]
    queries = torch.zeros_like(values).detach()
    return F.scaled_dot_product_attention(queries, queries, values, is_causal=True)


def weighed(spread: float, seed: int = 0) -> Callable[[Any], Any]:
    """Attention whose logits are independent N(0, spread^2) in every call."""
    generator = torch.Generator().manual_seed(seed)

    def operation(x: Any) -> Any:
        samples, _, tokens = x.shape
        logits = spread * torch.randn((samples, tokens, tokens), generator=generator)
        return torch.softmax(logits, -1) @ x.transpose(1, 2)

    return operation


def convolution(channels: int, kernel: int, side: int, seed: int = 0, **options: Any) -> Callable[[Any], Any]:
    """A convolution with new N(0, 1 / fan_in) weights in every call."""
    generator = torch.Generator().manual_seed(seed)

    def operation(x: Any) -> Any:
        assert x.shape[-1] == side
        weight = torch.randn((channels, x.shape[1], kernel, kernel), generator=generator)
        return F.conv2d(x, weight / math.sqrt(x.shape[1] * kernel**2), **options)

    return operation


def harmonic(count: int) -> float:
    """1 + 1/2 + ... + 1/count."""
    return sum(1 / n for n in range(1, count + 1))


def max_moments(count: int, correlation: float) -> tuple[float, float]:
    """Mean and mean square of the largest of N(0, 1) entries of equal correlation, for 2 to 4 entries.

    `max = sqrt(c) Z + sqrt(1 - c) M`, with M the largest of independent entries. Its moments: David & Nagaraja 2003,
    Order Statistics, section 3.2.
    """
    mean = {
        2: 1 / math.sqrt(math.pi),
        3: 1.5 / math.sqrt(math.pi),
        4: 6 / math.sqrt(math.pi**3) * math.atan(math.sqrt(2)),
    }
    square = {2: 1.0, 3: 1 + math.sqrt(3) / (2 * math.pi), 4: 1 + math.sqrt(3) / math.pi}
    return math.sqrt(1 - correlation) * mean[count], correlation + (1 - correlation) * square[count]


def gelu_mean(mean: float, variance: float) -> float:
    """`E[x Phi(x)]`, by Stein's lemma: `m Phi(t) + v / sqrt(1 + v) pdf(t)`, `t = m / sqrt(1 + v)`."""
    place = mean / math.sqrt(1 + variance)
    return mean * float(normal_cdf(place)) + variance / math.sqrt(1 + variance) * float(normal_density(place))


def covered(side: int, kernel: int) -> float:
    """Mean share of a kernel of odd side that lies on the image, with padding `kernel // 2`, in two dimensions."""
    reach = kernel // 2
    return (1 - reach * (reach + 1) / (kernel * side)) ** 2


def relu_square(mean: float, variance: float) -> tuple[float, float]:
    """`E[relu(x)^2]` and `P(x > 0)` of `N(mean, variance)`."""
    place = mean / math.sqrt(variance)
    on = float(normal_cdf(place))
    return (mean**2 + variance) * on + mean * math.sqrt(variance) * float(normal_density(place)), on


def normed(entries: int, variance: float) -> float:
    """Mean square of the gradient before a norm over so many normal entries: `(1 - 2/n) n / ((n - 3) v)`."""
    return (entries - 2) / (entries - 3) / variance


def truths() -> Sequence[Truth]:
    """Every operation whose moments are known."""
    image, tokens = (4, 16, 8, 8), (8, 32, 16)
    quarter, averaged = partial(F.max_pool2d, kernel_size=2), partial(F.avg_pool2d, kernel_size=2)
    return [
        *(
            Truth(f"max pooling, correlation {c}", quarter, image, max_moments(4, c)[1], 1 / 4, shared=c)
            for c in (0.0, 0.5, 0.9)
        ),
        # A mean m adds m^2 + 2 m E[max].
        Truth(
            "max pooling, mean 2", quarter, image,
            4 + 4 * max_moments(4, 0.0)[0] + max_moments(4, 0.0)[1], 1 / 4, mean=2.0,
        ),
        Truth("max pooling of pairs", lambda x: F.max_pool2d(x, (1, 2)), image, 1.0, 1 / 2),
        *(
            Truth(f"average pooling, correlation {c}", averaged, image, (1 + 3 * c) / 4, 1 / 16, shared=c)
            for c in (0.0, 0.5)
        ),
        Truth("global average pooling", lambda x: x.mean((2, 3)), image, 1 + 1 / 64, 1 / 64**2, mean=1.0),
        *(
            Truth(f"equal attention, correlation {c}", attended, tokens, c + (1 - c) / 16, 1 / 16, shared=c)
            for c in (0.0, 0.5)
        ),
        # Row i has i entries of 1/i, forward and back.
        Truth("causal attention", causal, tokens, harmonic(16) / 16, harmonic(16) / 16),
        # E[sum p^2] = exp(s^2)/N, and to first order in 1/N times 1 + (3 (e^{s^2} - 1) - 2 (e^{2 s^2} - 1))/N.
        Truth(
            "attention, logits of SD 0.5", weighed(0.5), (2, 32, 256), 0.3 + 0.7 * math.exp(0.25) / 256,
            math.exp(0.25) / 256, shared=0.3, slack=2 * (math.exp(0.5) - 1) / 256,
        ),
        Truth("convolution, padded", convolution(64, 3, 8, padding=1), image, covered(8, 3), 4 * covered(8, 3)),
        Truth("convolution, padded by 3", convolution(64, 7, 8, padding=3), image, covered(8, 7), 4 * covered(8, 7)),
        Truth("convolution of patches", convolution(64, 4, 8, stride=4), image, 1.0, 64 / (16 * 16)),
        # Two directions of n entries are projected out, and E[1 / measured variance] = n / ((n - 3) v).
        Truth("layer norm", lambda x: F.layer_norm(x, (64,)), (16, 64), 1.0, normed(64, 4.0), mean=1.0, variance=4.0),
        Truth(
            "batch norm", lambda x: F.batch_norm(x, None, None, training=True), (64, 32), 1.0, normed(64, 4.0),
            variance=4.0,
        ),
        Truth("group norm", lambda x: F.group_norm(x, 4), image, 1.0, normed(256, 4.0), variance=4.0),
        Truth("root mean square norm", lambda x: F.rms_norm(x, (64,)), (16, 64), 1.0, 63 / 62 / 4, variance=4.0),
        *(
            Truth(f"ReLU, mean {m}", torch.relu, (64, 64), *relu_square(m, 2.0), mean=m, variance=2.0)
            for m in (0.0, 1.0, -1.0)
        ),
        Truth("dropout", lambda x: F.dropout(x, 0.25, True), (64, 64), 2 / 0.75, 1 / 0.75, mean=1.0),
        Truth("scale", lambda x: 3 * x, (64, 64), 9.0, 9.0),
        Truth("residual sum", lambda x: x + torch.relu(x), (64, 64), 1 + 2 * 0.5 + 0.5, 0.5 + 0.5 * 4),
        Truth("gate", lambda x: x[:, :32] * torch.relu(x[:, 32:]), (64, 64), 0.5, 0.5 * (0.5 + 0.5)),
        Truth("cat", lambda x: torch.cat([x, 2 * torch.relu(x)], 1), (64, 64), (1 + 2) / 2, 1 + 4 / 2),
        Truth("interpolation", lambda x: F.interpolate(x, scale_factor=2), image, 1.0, 4.0),
    ]  # fmt: skip
