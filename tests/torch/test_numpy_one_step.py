"""One step of a NumPy network, against PyTorch's own step and Hessian."""

import pytest

from initprobe import ProbeConfig, run
from initprobe.engine.named_parameters import named_parameters
from initprobe.engine.streams import Streams
from initprobe.engine.threads import workers
from initprobe.probe.experiment import input_rows, prepare
from initprobe.probe.networks import draw_network, layers_of
from initprobe.probe.objective import learner_of
from initprobe.probe.progress import Steps

torch = pytest.importorskip("torch")

SMALL = {"init": "he", "act": "relu", "layers": 2, "width": 8, "batch": 40, "draws": 1}


@pytest.mark.parametrize("act", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_above_the_highest_rate_a_step_along_the_eigenvector_grows(act, norm):
    """The rate is compared with that at which a small displacement along the top eigenvector stops shrinking."""
    config = ProbeConfig(**SMALL | {"act": act, "norm": norm}, optimizer="sgd")
    stats = run(config).step
    loss, parameters = torch_loss(config)
    hessian = torch.autograd.functional.hessian(loss, parameters, vectorize=True)
    _, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
    moved = parameters + 1e-5 * vectors[:, -1]
    change = gradient_of(loss, moved) - gradient_of(loss, parameters)
    rate = 2e-5 / float(change @ vectors[:, -1])
    assert stats.highest_rate == pytest.approx(rate, rel=0.05)


def gradient_of(loss, at):
    return torch.autograd.grad(loss(leaf := at.clone().requires_grad_()), leaf)[0]


def torch_loss(config):
    """The loss of the first network, as a function of one long vector, in float64."""
    experiment, streams = prepare(config), Streams(config.seed, 0)
    with workers(1) as pool:
        network, _ = draw_network(experiment, streams, pool, Steps(None, 1))
        learner = learner_of(experiment.task, layers_of(experiment, network), streams, pool)
        x = input_rows(experiment, streams, 0, experiment.batch, pool)
    labels = torch.tensor(experiment.task.of(x, 0, streams))
    arrays = [torch.tensor(array).double() for _, array in named_parameters(learner)]
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
    config = ProbeConfig(**SMALL, optimizer=optimizer, dtype="float64")
    result = run(config)
    loss, start = torch_loss(config)
    parameters = start.clone().requires_grad_()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    stepper = kind([parameters], lr=config.learning_rate)
    loss(parameters).backward()
    stepper.step()
    assert result.step.loss_after == pytest.approx(loss(parameters).item(), rel=1e-6)
    weight = slice(0, 8 * 8)
    ratio = float((parameters.detach() - start)[weight].norm() / start[weight].norm())
    assert result.layers[0].weight_step_ratio == pytest.approx(ratio, rel=1e-6)
