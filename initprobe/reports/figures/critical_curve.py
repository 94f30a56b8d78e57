"""The edge of chaos over a range of bias scales, for heat maps of sweeps."""

from __future__ import annotations

import math

import numpy as np

from initprobe.activations.record import Activation
from initprobe.arrays import Array
from initprobe.meanfield.phase import CriticalPoint, critical_line

_CURVE_POINTS = 25


def critical_curve(activation: Activation, low: float, high: float, log: bool = False) -> tuple[Array, Array] | None:
    """Compute the edge of chaos over a range of bias scales.

    For a scale-free activation (ReLU) any bias makes lengths grow there. But gradients stay constant on the same line.

    Args:
        activation: of the net.
        low: smallest sigma_b.
        high: largest sigma_b.
        log: space sigma_b by ratios.

    Returns:
        `(sigma_w, sigma_b)`, `(points,)` each, NaN without a stable critical point; None without an edge.
    """
    # Denser at small scales, where the line starts like a root.
    steps = np.linspace(0, 1, _CURVE_POINTS)
    sigma_b = np.geomspace(low, high, _CURVE_POINTS) if log else low + (high - low) * steps**2
    start = critical_line(activation, 0.0)
    if start is not None and start.stable and math.isnan(start.q):
        return np.full(_CURVE_POINTS, start.sigma_w), sigma_b
    sigma_w = np.array([_stable(critical_line(activation, float(b))) for b in sigma_b])
    return (sigma_w, sigma_b) if np.isfinite(sigma_w).sum() > 1 else None


def _stable(point: CriticalPoint | None) -> float:
    return math.nan if point is None or not point.stable else point.sigma_w
