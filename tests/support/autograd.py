"""Statistics of layers beside those of the same tensors in PyTorch."""

import pytest


def assert_like_autograd(layers, weights, zs, hs):
    """Mean and variance of six tensors per layer are those of PyTorch, with gradients by autograd."""
    for layer, weight, z, h in zip(layers, weights, zs, hs, strict=True):
        for stats, tensor in [
            (layer.weight, weight),
            (layer.preactivation, z),
            (layer.output, h),
            (layer.preactivation_gradient, z.grad),
            (layer.output_gradient, h.grad),
            (layer.weight_gradient, weight.grad),
        ]:
            assert stats.variance == pytest.approx(tensor.detach().numpy().var(), rel=1e-6, abs=1e-30)
            assert stats.mean == pytest.approx(float(tensor.detach().numpy().mean()), rel=1e-6, abs=1e-12)
