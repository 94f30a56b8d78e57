"""One step of an optimizer on a model, against PyTorch's own step and Hessian."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from initprobe.errors import ConfigError  # noqa: E402
from initprobe.torch import probe  # noqa: E402


def small(seed=0, act=nn.Tanh):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), act(), nn.Linear(8, 8), act(), nn.Linear(8, 3)), torch.randn(20, 6)


def loss(output):
    return F.cross_entropy(output, torch.arange(20) % 3)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_layers_move_as_in_a_step_of_torch(name):
    model, x = small()
    before = copy.deepcopy(model.state_dict())
    result = probe(model, x, loss=loss, optimizer=name, lr=0.01)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    changed = copy.deepcopy(model)
    stepper = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    stepper = stepper(changed.parameters(), lr=0.01)
    loss(changed(x)).backward()
    stepper.step()
    h, moved = x, x
    for layer, number in zip(result.layers, (0, 2, 4), strict=True):
        old, new = model[number].weight.detach(), changed[number].weight.detach()
        assert layer.weight_step_ratio == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-4)
        h, moved = model[number : number + 2](h).detach(), changed[number : number + 2](moved).detach()
        assert layer.output_step_ratio == pytest.approx(float((moved - h).norm() / h.norm()), rel=1e-3)
    assert result.step.loss_after == pytest.approx(loss(changed(x)).item(), rel=1e-5)


@pytest.mark.parametrize("act", [nn.Tanh, nn.ReLU, nn.GELU])
def test_the_curvature_is_that_of_the_hessian(act):
    model, x = small(2, act)
    step = probe(model, x, loss=loss, optimizer="sgd").step
    names, held = zip(*model.named_parameters(), strict=True)
    sizes = [p.numel() for p in held]

    def of(vector):
        parts = {n: v.reshape(p.shape) for n, p, v in zip(names, held, vector.split(sizes), strict=True)}
        return loss(torch.func.functional_call(model, parts, (x,)))

    hessian = torch.autograd.functional.hessian(of, torch.cat([p.detach().reshape(-1) for p in held]), vectorize=True)
    assert step.largest_curvature == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=0.05)
    assert step.highest_rate == pytest.approx(2 / step.largest_curvature)


def test_user_faults_are_one_line():
    model, x = small()
    rates = [{"loss": loss, "optimizer": "sgd", "lr": rate} for rate in (0, float("inf"), float("nan"), 1e300, "x")]
    for wrong in ({"optimizer": "sgd"}, {"loss": loss, "lr": 0.1}, {"loss": loss, "optimizer": "lion"}, *rates):
        with pytest.raises(ConfigError):
            probe(model, x, **wrong)
    with pytest.raises(ConfigError, match="no parameter of the model requires a gradient"):
        probe(model.requires_grad_(False), x, loss=loss, optimizer="sgd")


def test_a_half_precision_model_moves_as_one_of_float32():
    model, x = small()
    single = probe(model, x, loss=loss, optimizer="sgd")
    half = probe(model.to(torch.bfloat16), x.to(torch.bfloat16), loss=loss, optimizer="sgd")
    for one, other in zip(single.layers, half.layers, strict=True):
        # An update of 1% of W is stored with a unit of 2^-8.
        assert other.output_step_ratio == pytest.approx(one.output_step_ratio, rel=0.2)


@pytest.mark.parametrize(("of", "curvature"), [(lambda h: (h * h).sum(), 8.0), (lambda h: h.sum(), 0.0)])
def test_the_curvature_of_one_parameter_and_of_a_plane(of, curvature):
    step = probe(nn.Linear(1, 1, bias=False), torch.ones(4, 1), loss=of, optimizer="sgd").step
    assert step.largest_curvature == pytest.approx(curvature)
    assert (step.highest_rate is None) is (curvature == 0)
