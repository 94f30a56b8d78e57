"""The autoencoder that pre-trains one layer on its own input.

It encodes by `h = phi(x W + b)` and decodes by `x' = h V + c`. Plain SGD lowers `|x' - x|^2`, summed over features and
averaged over the samples of a step. The learning rate is in units of 1 / the steepest curvature. Otherwise the scale of
the input of a layer would decide whether it learns or diverges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from initprobe.arrays import Array
from initprobe.engine.fitted import Fitted, outputs
from initprobe.engine.mlp import Layer, Parameters
from initprobe.engine.threads import Workers, row_blocks
from initprobe.errors import ConfigError
from initprobe.initializers.fit_settings import Autoencoder

_POWER_STEPS = 10
# A step's samples are shared among threads in parts of this many.
_PART = 32


@dataclass(frozen=True)
class _Rates:
    """The learning rates of one step: of W and V, of b, and of c."""

    weight: float
    bias: float
    offset: float


class Coder:
    """An autoencoder of one layer, its parameters changed in place.

    Input and code are centred by their means at the start, which changes the conditioning alone. Otherwise the mean of
    an output that is never negative would decide the rate. The rest would hardly learn (LeCun et al. 1998, section
    4.3). `bias` and `offset` are those of the centred network.
    """

    def __init__(self, fit: Autoencoder, layer: Layer, x: Array, generator: np.random.Generator, pool: Workers) -> None:
        """Start from the drawn layer.

        Args:
            fit: the settings.
            layer: without norm and skip.
            x: its input, `(samples, fan_in)`.
            generator: for the order of the samples and the noise.
            pool: the threads.
        """
        self.fit, self.weight, self.activation = fit, layer.weight, layer.activation
        self.generator, self.pool = generator, pool
        self.mean = x.mean(axis=0)
        self.x = x - self.mean
        self.bias = np.matmul(self.mean, self.weight) + (0 if layer.bias is None else layer.bias)
        self.decoder = self.weight.T if fit.tied else np.ascontiguousarray(self.weight.T)
        h = outputs(Layer(Parameters(self.weight, self.bias), self.activation), self.x, pool)
        self.code_mean, self.offset = h.mean(axis=0), np.zeros_like(self.mean)
        self.by_input, self.by_code, self.by_decoder = _Steepest(), _Steepest(), _Steepest()

    def layer(self) -> Parameters:
        """The parameters of the encoder, for input that is not centred."""
        return Parameters(self.weight, self.bias - np.matmul(self.mean, self.weight))

    def learn(self, number: int, advance: Callable[[], None]) -> Fitted:
        """Train for all epochs; call `advance` after each.

        Args:
            number: of the layer, from 1, for an error.
            advance: reports progress.

        Raises:
            ConfigError: training diverges; names the layer, which is the `number`-th, and the step.
        """
        before, step = self.loss(), 0
        samples, size = len(self.x), self.fit.samples_of(len(self.x))
        for _ in range(self.fit.epochs):
            order = self.generator.permutation(samples)
            for start in range(0, samples - size + 1, size):
                step += 1
                if not self.step(self.x[order[start : start + size]]):
                    raise ConfigError(
                        f"init: the autoencoder of layer {number} diverged at step {step}; "
                        f"lower its learning_rate, now {self.fit.learning_rate:g}"
                    )
            advance()
        return Fitted(before, self.loss(), float(np.mean(np.square(self.x, dtype=np.float64))), step, None)

    def step(self, clean: Array) -> bool:
        """One step of SGD on the samples `clean`, `(samples, fan_in)`; True if the loss was finite."""
        noisy = self._masked(clean)
        h = np.empty((len(clean), self.weight.shape[1]), clean.dtype)
        error, delta, slopes = np.empty_like(clean), np.empty_like(h), np.empty_like(h)

        def code(rows: slice) -> float:
            z, value = self._coded(noisy[rows])
            np.matmul(np.subtract(value, self.code_mean, out=h[rows]), self.decoder, out=error[rows])
            error[rows] += self.offset
            error[rows] -= clean[rows]
            np.matmul(error[rows], self.decoder.T, out=delta[rows])
            slopes[rows] = self.activation.slope(z, value)
            delta[rows] *= slopes[rows]
            return float(np.vdot(error[rows], error[rows]))

        def learn(rows: slice) -> None:
            change = np.matmul(noisy[:, rows].T, delta)
            if self.fit.tied:
                change += np.matmul(error[:, rows].T, h)
            else:
                self.decoder[:, rows] -= scale * np.matmul(h.T, error[:, rows])
            change *= scale
            self.weight[rows] -= change

        parts = [slice(start, start + _PART) for start in range(0, len(clean), _PART)]
        if not math.isfinite(sum(self.pool.map(code, parts))):
            return False
        rates = self.rates(noisy, h, slopes)
        scale = clean.dtype.type(2 * rates.weight / len(clean))
        self.pool.map(learn, row_blocks(*self.weight.shape))
        self.bias -= clean.dtype.type(2 * rates.bias) * delta.mean(axis=0)
        self.offset -= clean.dtype.type(2 * rates.offset) * error.mean(axis=0)
        return True

    def _coded(self, x: Array) -> tuple[Array, Array]:
        z = np.matmul(x, self.weight)
        z += self.bias
        return z, self.activation.value(z)

    def _masked(self, clean: Array) -> Array:
        """The samples with some entries set to 0, which in centred input is minus the mean."""
        if not self.fit.noise:
            return clean
        masked = self.generator.random(clean.shape, dtype=np.float32) < self.fit.noise
        return np.where(masked, -self.mean, clean)

    def rates(self, x: Array, code: Array, slopes: Array) -> _Rates:
        """The rates of a step: `learning_rate` over the steepest curvature of the loss of its samples.

        The loss is quadratic in V, with curvature `2 h'h / n`. It is nearly quadratic in W, with `2 x'x / n` times
        `V V'` and the mean square slope. In c the curvature is 2, in b it is `2 V V'` times that slope. Where
        parameters move together their curvatures may add up, so each pair shares one rate or halves its own.

        Args:
            x: input, `(samples, fan_in)`.
            code: output of the encoder, `(samples, fan_out)`.
            slopes: of the activation there, `(samples, fan_out)`.
        """
        through = self.by_decoder.of(self.decoder) * len(self.decoder) * float(np.mean(np.square(slopes)))
        weights = 2 * (self.by_code.of(code) + self.by_input.of(x) * through)
        return _Rates(*(self.fit.learning_rate / at if 0 < at < math.inf else 0.0 for at in (weights, 4 * through, 4)))

    def loss(self) -> float:
        """Mean squared error over samples and features, of clean input."""

        def work(rows: slice) -> float:
            error = np.matmul(self._coded(self.x[rows])[1] - self.code_mean, self.decoder)
            error += self.offset
            error -= self.x[rows]
            return float(np.sum(np.square(error, dtype=np.float64)))

        return float(sum(self.pool.map(work, row_blocks(*self.x.shape))) / self.x.size)


class _Steepest:
    """The largest eigenvalue of `m'm / rows`, by the power method, of matrices m that change little between calls.

    Each call starts from the vector of the last one and approaches the eigenvalue from below.
    """

    def __init__(self) -> None:
        self.vector: Array | None = None

    def of(self, matrix: Array) -> float:
        """The eigenvalue; NaN or infinite where an entry is."""
        steps, value = (_POWER_STEPS, 0.0) if self.vector is None else (1, 0.0)
        vector = matrix.sum(axis=0) + matrix.dtype.type(1) if self.vector is None else self.vector
        for _ in range(steps):
            length = float(np.linalg.norm(vector))
            if not 0 < length < math.inf:
                return length
            vector = np.matmul(matrix.T, np.matmul(matrix, vector / matrix.dtype.type(length)))
            value = float(np.linalg.norm(vector)) / len(matrix)
        self.vector = vector
        return value
