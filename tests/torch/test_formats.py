"""`formats` for PyTorch models: shares are those of PyTorch's own casts."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from initprobe.engine.number_formats import FORMATS  # noqa: E402
from initprobe.torch import probe  # noqa: E402


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    layers = [nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 4)]
    model = nn.Sequential(*layers)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=1e-5)
            nn.init.zeros_(layer.bias)
    return model


@pytest.fixture(scope="module")
def result(model):
    return probe(model, torch.randn(20, 30), formats=list(FORMATS), try_fixes=False)


@pytest.mark.parametrize("name", FORMATS)
def test_weights_are_lost_as_pytorch_casts_them(model, result, name):
    stats = next(stats for stats in result.formats if stats.name == name)
    weights = [layer.weight.detach() for layer in model if isinstance(layer, nn.Linear)]
    for number, weight in enumerate(weights, start=1):
        (tensor,) = [t for t in stats.tensors if (t.layer, t.tensor) == (number, "weight")]
        cast = weight.to(getattr(torch, name)).float()
        assert tensor.zero == pytest.approx(float(((cast == 0) & (weight != 0)).float().mean()))


def test_the_verdict_names_the_first_lost_layer(result):
    names = [finding.rule for finding in result.diagnosis if "float16" in finding.evidence]
    assert names == ["lost-in-format"]
    assert result.layers[result.formats[0].lost_at.signal - 1].name == "2"


def test_tensors_of_no_layer_are_counted_too():
    torch.manual_seed(0)
    model, x = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 1e-7 * torch.randn(4, 5, 8)
    (stats,) = probe(model, x, formats="float16", try_fixes=False).formats
    names = {tensor.name for tensor in stats.operations}
    assert {"input", "add", "norm1: layer_norm", "self_attn: scaled_dot_product_attention"} <= names
    given = next(tensor for tensor in stats.operations if tensor.name == "input")
    assert given.zero == pytest.approx(float(((x.half() == 0) & (x != 0)).float().mean())) and given.zero > 0.1
