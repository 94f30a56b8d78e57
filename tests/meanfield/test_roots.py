"""The compiled root finder of SciPy, without its package."""

import math

import pytest
from scipy import optimize

from initprobe.meanfield import roots


@pytest.mark.parametrize("tolerance", [2e-12, 1e-23])
def test_a_root_has_the_bits_of_scipy(tolerance, monkeypatch):
    assert roots._compiled() is not None
    for shift in (0.1, 0.5, 0.9):
        found = roots.root(lambda x, shift=shift: math.tanh(x) - shift, -1.0, 3.0, tolerance)
        assert found == optimize.brentq(lambda x, shift=shift: math.tanh(x) - shift, -1.0, 3.0, xtol=tolerance)
    monkeypatch.setattr(roots, "_compiled", lambda: None)
    assert roots.root(lambda x: math.tanh(x) - 0.9, -1.0, 3.0, tolerance) == found
