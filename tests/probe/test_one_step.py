"""One step of an optimizer, and the largest curvature, against the definitions."""

import numpy as np
import pytest

from initprobe import ConfigError, ProbeConfig, ProbeResult, run
from initprobe.engine.curvature import largest_curvature

SMALL = {"init": "he", "act": "relu", "layers": 2, "width": 8, "batch": 40, "draws": 1}


def test_the_curvature_of_a_quadratic():
    rng = np.random.default_rng(5)
    root = rng.standard_normal((40, 40))
    hessian = root @ root.T - 20 * np.eye(40)
    found = largest_curvature(lambda at: hessian @ at, rng.standard_normal(40), seed=1)
    assert found == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=0.01)


def test_a_step_is_written_and_read():
    result = run(ProbeConfig(**SMALL, optimizer="sgd"))
    assert ProbeResult.from_json(result.to_json()) == result
    assert result.step.loss_after < result.step.loss_before
    assert all(layer.output_step_ratio > 0 for layer in result.layers)


def test_adam_has_its_own_rate_and_no_curvature():
    step = run(ProbeConfig(**SMALL, optimizer="adam")).step
    assert step.learning_rate == 1e-3 and step.largest_curvature is None and "Adam" in step.curvature_note


def test_training_is_plain_sgd():
    with pytest.raises(ConfigError, match="plain SGD"):
        ProbeConfig(**SMALL, optimizer="adam", train_steps=3)
