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


@pytest.mark.parametrize("act", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_above_the_highest_rate_a_step_along_the_eigenvector_grows(act, norm):
    """The rate is compared with that at which a small displacement along the top eigenvector stops shrinking."""
    torch = pytest.importorskip("torch")
    config = ProbeConfig(**SMALL | {"act": act, "norm": norm}, optimizer="sgd")
    stats = run(config).step
    loss, parameters = torch_loss(torch, config)
    hessian = torch.autograd.functional.hessian(loss, parameters, vectorize=True)
    _, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
    moved = parameters + 1e-5 * vectors[:, -1]
    change = gradient_of(torch, loss, moved) - gradient_of(torch, loss, parameters)
    rate = 2e-5 / float(change @ vectors[:, -1])
    assert stats.highest_rate == pytest.approx(rate, rel=0.05)


def gradient_of(torch, loss, at):
    return torch.autograd.grad(loss(leaf := at.clone().requires_grad_()), leaf)[0]


def torch_loss(torch, config):
    """The loss of the first network, as a function of one long vector, in float64."""
    from initprobe.engine.streams import Streams
    from initprobe.engine.threads import workers
    from initprobe.probe.experiment import input_rows, prepare
    from initprobe.probe.networks import draw_network, layers_of
    from initprobe.probe.objective import learner_of
    from initprobe.probe.one_step import _parameters
    from initprobe.probe.progress import Steps

    experiment, streams = prepare(config), Streams(config.seed, 0)
    with workers(1) as pool:
        network, _ = draw_network(experiment, streams, pool, Steps(None, 1))
        learner = learner_of(experiment.task, layers_of(experiment, network), streams, pool)
        x = input_rows(experiment, streams, 0, experiment.batch, pool)
    labels = torch.tensor(experiment.task.of(x, 0, streams))
    arrays = [torch.tensor(array).double() for _, array in _parameters(learner)]
    phi = {"relu": torch.relu, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu}[config.act.name]

    def loss(vector):
        parts = [
            part.reshape(a.shape) for part, a in zip(vector.split([a.numel() for a in arrays]), arrays, strict=True)
        ]
        h = torch.tensor(x).double()
        for weight, bias in zip(parts[0:-1:2], parts[1:-1:2], strict=True):
            z = h @ weight + bias
            z = torch.nn.functional.layer_norm(z, z.shape[-1:]) if config.norm == "layer" else z
            h = phi(z)
        return torch.nn.functional.cross_entropy(h @ parts[-1], labels)

    return loss, torch.cat([a.reshape(-1) for a in arrays])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_step_is_that_of_torch(optimizer):
    torch = pytest.importorskip("torch")
    config = ProbeConfig(**SMALL, optimizer=optimizer, dtype="float64")
    result = run(config)
    loss, start = torch_loss(torch, config)
    parameters = start.clone().requires_grad_()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    stepper = kind([parameters], lr=config.learning_rate)
    loss(parameters).backward()
    stepper.step()
    assert result.step.loss_after == pytest.approx(loss(parameters).item(), rel=1e-6)
    weight = slice(0, 8 * 8)
    ratio = float((parameters.detach() - start)[weight].norm() / start[weight].norm())
    assert result.layers[0].weight_step_ratio == pytest.approx(ratio, rel=1e-6)


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
