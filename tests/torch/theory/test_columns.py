"""Predictions beside the measurement, on small models."""

import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from initprobe.torch import probe  # noqa: E402
from initprobe.torch.nested import tensors  # noqa: E402

TENSORS = ("preactivation", "output", "output_gradient")
COLUMNS = ("local", "end_to_end")


def layers_of(model, x):
    return probe(model, x, try_fixes=False, threads=1).layers


def chain(activation):
    parts = [part for _ in range(3) for part in (nn.Linear(256, 256), activation())]
    return nn.Sequential(*parts), torch.randn(64, 256)


def pictures():
    body = (nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 64, 3))
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 256)), torch.randn(8, 3, 16, 16)


def words():
    encoder = nn.TransformerEncoderLayer(256, 4, 512, dropout=0.0, batch_first=True, norm_first=True)
    return nn.Sequential(nn.Embedding(100, 256), encoder), torch.arange(64).reshape(4, 16)


NETS = {"tanh": lambda: chain(nn.Tanh), "gelu": lambda: chain(nn.GELU), "pictures": pictures, "words": words}


@pytest.mark.parametrize("name", NETS)
def test_every_layer_has_every_prediction_within_its_spread(name):
    torch.manual_seed(0)
    for layer in layers_of(*NETS[name]()):
        for column in COLUMNS:
            for tensor in TENSORS:
                predicted = getattr(getattr(layer.model_theory, column), tensor)
                assert predicted.reason is None
                assert abs(predicted.z) < 5, f"{layer.name} {column} {tensor}"
                measured = getattr(layer, tensor).variance
                assert predicted.z * predicted.log_sd == pytest.approx(
                    math.log(measured / predicted.variance) - predicted.log_mean, abs=1e-9
                )


def test_theory_starts_again_behind_an_operation_without_a_rule():
    class Cumulative(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(256, 256), nn.Linear(256, 256)

        def forward(self, x):
            return self.second(torch.logcumsumexp(self.first(x), 1))

    first, second = layers_of(Cumulative(), torch.randn(32, 256))
    assert first.model_theory.restarted is None
    assert "logcumsumexp" in second.model_theory.restarted
    assert abs(second.model_theory.local.output.z) < 5


def test_gradients_go_back_through_products_with_constants():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(256, 256), nn.Linear(256, 256)

        def forward(self, x):
            return x + self.second((2 * self.first(x)).reshape(-1, 256) * 3 * 0.5)

    torch.manual_seed(0)
    for layer in layers_of(Scaled(), torch.randn(32, 256)):
        assert abs(layer.model_theory.local.output_gradient.z) < 5


def test_weights_that_are_not_independent_differ_from_theory():
    layer = nn.Linear(256, 256, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.ones(256, 256) * (torch.arange(256) % 2 * 2.0 - 1)[:, None])
    x = torch.randn(32, 256) + 3
    result = probe(nn.Sequential(layer), x, try_fixes=False, threads=1)
    assert abs(result.layers[0].model_theory.local.preactivation.z) > 5


def test_a_note_names_weights_that_fit_their_input():
    torch.manual_seed(0)
    x = torch.randn(32, 1) * torch.randn(256)
    layer = nn.Linear(256, 256, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.outer(torch.randn(256), torch.nn.functional.normalize(x[0], dim=0)))
    result = probe(nn.Sequential(layer), x, try_fixes=False, threads=1)
    assert "dependent-weights" in [finding.rule for finding in result.diagnosis]
    torch.manual_seed(0)
    healthy = probe(*chain(nn.Tanh), try_fixes=False, threads=1)
    assert "dependent-weights" not in [finding.rule for finding in healthy.diagnosis]


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (2, 4)])
def test_the_drawn_gradient_of_a_few_outputs_is_its_own_prediction(shape):
    """Their chance mean is known exactly, so nothing is lost of their variance."""
    torch.manual_seed(0)
    samples, units = shape
    layer = layers_of(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, units)), torch.randn(samples, 8))[-1]
    for column in (layer.model_theory.local, layer.model_theory.end_to_end):
        assert column.output_gradient.variance == pytest.approx(layer.output_gradient.variance, rel=1e-9)


ENDS = {
    "scaled": lambda h: h / 2,
    "view": lambda h: h.reshape(-1),
    "transposed": lambda h: h.t(),
    "dict": lambda h: {"logits": 4 * h},
}


@pytest.mark.parametrize("loss", [None, lambda out: sum(each.square().mean() for each in tensors(out))])
@pytest.mark.parametrize("name", ENDS)
def test_theory_starts_from_the_gradient_of_an_output_that_no_layer_made(name, loss):
    """It is far from 1 with a loss, and differs from 1 by chance without one. Powers of 2 round nothing."""

    class Model(nn.Sequential):
        def forward(self, x):
            return ENDS[name](super().forward(x))

    torch.manual_seed(0)
    model = Model(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    last = probe(model, torch.randn(8, 64), loss=loss, try_fixes=False, threads=1).layers[-1]
    predicted = last.model_theory.end_to_end.output_gradient.variance
    assert predicted == pytest.approx(last.output_gradient.variance, rel=1e-9)


@pytest.mark.parametrize("loss", [None, lambda out: out[1].square().mean()])
@pytest.mark.parametrize("used", [True, False])
def test_an_output_has_the_gradient_of_all_its_uses(loss, used):
    """A hidden layer that is returned too counts once, and an output that the loss ignores has no gradient."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head, self.ignored = nn.Linear(64, 256), nn.Linear(256, 8), nn.Linear(256, 4)

        def forward(self, x):
            h = self.first(x).tanh()
            return (h if used else self.ignored(h)), self.head(h)

    torch.manual_seed(0)
    layer = probe(Model(), torch.randn(32, 64), loss=loss, try_fixes=False, threads=1).layers[0]
    for column in (layer.model_theory.local, layer.model_theory.end_to_end):
        assert abs(column.output_gradient.z) < 5


def test_dropout_of_everything_has_no_prediction():
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(1.0), nn.Linear(8, 8))
    gradient = layers_of(model, torch.randn(4, 8))[0].model_theory.end_to_end.output_gradient
    assert gradient.reason == "dropout that drops all"


class Quotient(nn.Module):
    """The output of one layer over that of another."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        return self.out(self.first(x) / (1 + self.second(x).abs()))


def test_a_division_by_a_signal_has_no_prediction_back():
    theory = layers_of(Quotient(), torch.randn(8, 16))[0].model_theory
    for column in COLUMNS:
        assert getattr(theory, column).output_gradient.reason == "a division by a signal"


class Normed(nn.Module):
    """A layer divided by a function of itself."""

    def __init__(self, norm):
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(16, 256), nn.Linear(256, 64), norm

    def forward(self, x):
        z = self.first(x)
        return self.second(z / self.norm(z))


@pytest.mark.parametrize(
    ("norm", "has_rule"),
    [
        (lambda z: z.square().mean(-1, keepdim=True).sqrt(), True),
        (lambda z: (z * z).sum(-1, keepdim=True) ** 0.5, True),
        (lambda z: z.norm(dim=-1, keepdim=True), True),
        (lambda z: z.std(-1, keepdim=True), True),
        (lambda z: z.abs().sum(-1, keepdim=True), False),
        (lambda z: z.norm(1, -1, keepdim=True), False),
        (lambda z: z.square().mean(-1, keepdim=True), False),
    ],
)
def test_only_a_root_mean_square_is_a_norm_by_hand(norm, has_rule):
    torch.manual_seed(0)
    predicted = layers_of(Normed(norm), torch.randn(64, 16))[0].model_theory.local.output
    assert (predicted.reason is None) == has_rule
    assert not has_rule or abs(predicted.z) < 5


def test_a_gradient_of_which_one_part_has_no_rule_has_no_prediction():
    """The other part alone would be too small."""

    class TwoWays(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x):
            z = self.first(x)
            return self.second(z) + self.third(torch.fft.ifft(torch.fft.fft(z)).real)

    predicted = layers_of(TwoWays(), torch.randn(64, 16))[0].model_theory.local.output_gradient
    assert predicted.reason and predicted.z is None
