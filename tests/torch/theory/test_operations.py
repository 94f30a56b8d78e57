"""Operations between two layers: each has a prediction, forward and back, within what chance allows."""

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from initprobe.torch import probe  # noqa: E402

# Means over positions are alike in all samples, so a layer of them has few independent rows.
SPREADS = {"depthwise convolutions and a gate": 0.15}
TENSORS = ("preactivation", "output", "output_gradient")
WIDTH = 256


class Between(nn.Module):
    """An operation between two linear layers, or two convolutions."""

    def __init__(self, operation, first, second):
        super().__init__()
        self.operation, self.first, self.second = operation, first, second

    def forward(self, x):
        return self.second(self.operation(self.first(x)))


def rows(operation, inner=WIDTH):
    """On vectors, 16 in each of 8 samples."""
    model = Between(operation, nn.Linear(WIDTH, WIDTH), nn.Linear(inner, WIDTH))
    return model, torch.randn(8, 16, WIDTH)


def pictures(operation):
    """On 64 channels of 8 x 8."""
    model = Between(operation, nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1))
    return model, torch.randn(8, 64, 8, 8)


def places(count):
    """The places to which rows are added."""
    return (torch.arange(count) * 3 % 5)[None, :, None].expand(8, -1, WIDTH)


def edges():
    """A ring of 16, and further edges from its first places."""
    index = torch.arange(16)
    return torch.cat([index, (index + 1) % 16, index]), torch.cat([(index + 1) % 16, index, index % 3])


CASES = {
    "ReLU6": lambda: rows(lambda x: F.relu6(8 * x)),
    "hard tanh with bounds": lambda: rows(lambda x: F.hardtanh(x, -0.5, 0.25)),
    "GLU": lambda: rows(F.glu, WIDTH // 2),
    "GLU over channels": lambda: rows(lambda x: F.glu(x.transpose(1, 2), 1).transpose(1, 2), WIDTH // 2),
    "softmax over places": lambda: rows(lambda x: x.softmax(1)),
    "normalize": lambda: rows(lambda x: F.normalize(x, dim=-1)),
    "roll": lambda: rows(lambda x: x.roll(3, 1)),
    "repeat_interleave": lambda: rows(lambda x: x.repeat_interleave(2, 1)),
    "index_select": lambda: rows(lambda x: x.index_select(1, torch.tensor([1, 3, 8]))),
    "index by a tensor": lambda: rows(lambda x: x[:, torch.tensor([3, 3, 5, 0])]),
    "index by two tensors": lambda: rows(lambda x: x[torch.tensor([0, 1, 1, 5]), torch.tensor([2, 2, 7, 0])]),
    "gather": lambda: rows(lambda x: x.gather(1, torch.tensor([1, 1, 4])[None, :, None].expand(8, -1, WIDTH))),
    "index_add": lambda: rows(lambda x: torch.zeros(8, 4, WIDTH).index_add(1, torch.arange(16) % 4, x)),
    "scatter_reduce": lambda: rows(
        lambda x: torch.zeros(8, 5, WIDTH).scatter_reduce(1, places(16), x, "mean", include_self=False)
    ),
    "edges of a graph": lambda: rows(lambda x: torch.zeros_like(x).index_add(1, edges()[0], x[:, edges()[1]])),
    "a matrix of a graph": lambda: rows(lambda x: torch.triu(torch.ones(16, 16)) / 4 @ x),
    "division by degrees": lambda: rows(lambda x: x.cumsum(1) / torch.arange(1.0, 17)[:, None]),
    "amax": lambda: rows(lambda x: x.amax(1)),
    "min": lambda: rows(lambda x: x.min(1)[0] + 1),
    "max of groups": lambda: rows(lambda x: x.unflatten(-1, (-1, 2)).max(-1).values, WIDTH // 2),
    "max over a sequence": lambda: rows(lambda x: F.max_pool1d(x.transpose(1, 2).relu(), 16).squeeze(2)),
    "max over 300 places": lambda: (
        rows(lambda x: x.amax(1) - 1.6)[0],
        torch.randn(8, 300, WIDTH),
    ),
    "adaptive max pool": lambda: pictures(lambda x: F.adaptive_max_pool2d(x.relu(), 4) - 0.6),
    "max pool of large windows": lambda: (
        pictures(lambda x: F.max_pool2d(x, 18) - 1.8)[0],
        torch.randn(8, 64, 54, 54),
    ),
    "dropout of channels": lambda: pictures(lambda x: F.dropout2d(x, 0.25)),
    "roll of a picture": lambda: pictures(lambda x: x.roll((1, 2), (2, 3))),
}


class Contraction(nn.Module):
    """A sum over two axes with a parameter."""

    def __init__(self, equation, *shape):
        super().__init__()
        self.equation, self.first = equation, nn.Linear(WIDTH, WIDTH)
        self.weight, self.second = nn.Parameter(torch.randn(shape) / 16), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        heads = self.first(x).reshape(*x.shape[:-1], 4, 64)
        return self.second(torch.einsum(self.equation, heads, self.weight))


class Logits(nn.Module):
    """Products of the rows of two tensors."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(16, WIDTH)

    def forward(self, x):
        return self.out(torch.einsum("bik,bjk->bij", self.query(x), self.key(x)).relu())


CASES["einsum of two signals"] = lambda: (Logits(), torch.randn(8, 16, WIDTH))
CASES["einsum with a parameter"] = lambda: (Contraction("...hd,hde->...e", 4, 64, WIDTH), torch.randn(8, 16, WIDTH))


class Branches(nn.Module):
    """Two branches of unequal scale side by side, and a norm that makes their channels alike."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(64, 64, 3, padding=1, bias=False) for _ in range(2))
        self.norm, self.out = nn.BatchNorm2d(128), nn.Conv2d(128, 64, 3, padding=1)

    def forward(self, x):
        return self.out(self.norm(torch.cat([4 * self.first(x), self.second(x)], 1)).relu())


class Stacked(nn.Module):
    """Two branches of unequal scale as rows of one sequence, and a norm that makes the rows alike."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x):
        return self.out(F.layer_norm(torch.stack([10 * self.first(x), self.second(x)], 1), (WIDTH,)))


class Gated(nn.Module):
    """One layer, times the sigmoid of another: the gate has the smaller gradient."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x):
        return self.out(F.glu(torch.cat([self.first(x), self.second(x)], -1)))


class SelfAttention(nn.Module):
    """Attention with peaked weights, by the function or by hand; keys and values are made of the same tokens."""

    def __init__(self, heads, scale, by_hand, lowest=0.0):
        super().__init__()
        self.x, self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(5))
        for layer in self.children():
            nn.init.normal_(layer.weight, std=WIDTH**-0.5)
        self.heads, self.scale, self.by_hand = heads, scale * (WIDTH / heads) ** -0.5, by_hand
        self.mask = torch.zeros(40, 40)
        self.mask[:, 30:] = lowest

    def forward(self, x):
        x = self.x(x)
        parts = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        query, key, value = parts
        if self.by_hand:
            logits = query @ key.transpose(-1, -2) * self.scale
            made = (logits + self.mask if self.mask.any() else logits).softmax(-1) @ value
        else:
            made = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.out(made.transpose(1, 2).flatten(2))


class PooledBranches(nn.Module):
    """A maximum over what was concatenated, twice, with padding at the border."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(64, 96, size, padding=size // 2, bias=False) for size in (1, 3))
        self.norm, self.third = nn.BatchNorm2d(192), nn.Conv2d(384, 64, 1, bias=False)
        self.last, self.out = nn.BatchNorm2d(64), nn.Linear(64, WIDTH)

    def forward(self, x):
        x = self.norm(torch.cat([self.first(x), self.second(x)], 1))
        x = F.max_pool2d(torch.cat([x.relu(), x.tanh()], 1), 3, 1, 1)
        return self.out(self.last(self.third(x)).relu().mean((2, 3)))


class Excited(nn.Module):
    """Two depthwise convolutions with batch norm and SiLU, then a gate made of the mean over positions."""

    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Conv2d(32, 256, 1, bias=False), nn.Linear(256, 64)
        self.kernels = nn.ModuleList(nn.Conv2d(256, 256, 3, padding=1, groups=256, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(256) for _ in range(3))
        self.down, self.up = nn.Linear(256, 256), nn.Linear(256, 256)

    def forward(self, x):
        x = F.silu(self.norms[2](self.first(x)))
        for kernel, norm in zip(self.kernels, self.norms, strict=False):
            x = F.silu(norm(kernel(x)))
        gate = torch.sigmoid(self.up(F.silu(self.down(x.mean((2, 3))))))
        return self.out((x * gate[..., None, None]).transpose(1, 3))


class Merged(nn.Module):
    """Four neighbours are merged, as in Swin. Each has weights of its own, so neighbours have unlike gradients."""

    def __init__(self):
        super().__init__()
        self.first, self.merge = nn.Conv2d(64, 256, 1), nn.Linear(1024, 256)

    def forward(self, x):
        x = self.first(x)
        x = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2).permute(0, 2, 3, 1)
        parts = [x[:, row::2, column::2, :] for row in (0, 1) for column in (0, 1)]
        return self.merge(torch.cat(parts, -1)).mean((1, 2))


class Lowered(nn.Module):
    """A signal and a constant far below 0, which is no mask: it has no zeros."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4 * WIDTH)
        self.constant = torch.full((1, WIDTH), -50.0)

    def forward(self, x):
        return self.second(self.first(x) + self.constant)


def bordered():
    """Convolutions with a border, each with batch norm and ReLU, and a maximum."""
    parts = [[nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()] for _ in range(4)]
    return nn.Sequential(*[part for row in parts for part in row], nn.MaxPool2d(2))


def pooled(pool, count):
    """A mean over windows between two convolutions along so many axes."""
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[count]
    return nn.Sequential(conv(64, 64, 3, padding=1), nn.Tanh(), pool, conv(64, 64, 3, padding=1))


class Padded(nn.Module):
    """Attention to samples of unequal length."""

    def __init__(self, lengths):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, 0.0, batch_first=True)
        self.register_buffer("padding", torch.arange(24) >= torch.tensor(lengths)[:, None])

    def forward(self, x):
        return self.layer(x, src_key_padding_mask=self.padding)


CASES["padding of the first sample"] = lambda: (Padded([3, *[24] * 7]), torch.randn(8, 24, WIDTH))
CASES["padding of other samples"] = lambda: (Padded([24, *[6] * 7]), torch.randn(8, 24, WIDTH))
CASES["depthwise convolutions and a gate"] = lambda: (Excited(), torch.randn(12, 32, 8, 8))
CASES["peaked attention"] = lambda: (SelfAttention(4, 2.0, False), torch.randn(4, 40, WIDTH))
CASES["peaked attention by hand"] = lambda: (SelfAttention(4, 2.0, True), torch.randn(4, 40, WIDTH))
CASES["attention by hand"] = lambda: (SelfAttention(8, 0.3, True), torch.randn(4, 40, WIDTH))
CASES["two blocks of multi-head attention"] = lambda: (
    nn.Sequential(*[nn.TransformerEncoderLayer(WIDTH, 4, 64, 0.1, batch_first=True) for _ in range(2)]),
    torch.randn(4, 24, WIDTH),
)
CASES["neighbours that are merged"] = lambda: (Merged(), torch.randn(4, 64, 16, 16))
CASES["adaptive pooling to more places"] = lambda: pictures(lambda x: F.adaptive_avg_pool2d(x[..., :5, :5], 7))
CASES["adaptive pooling of a long signal"] = lambda: (
    nn.Sequential(nn.Conv1d(16, 64, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(7)),
    torch.randn(4, 16, 4000),
)
CASES["mean over windows cut by the border"] = lambda: (
    pooled(nn.AvgPool2d(4, ceil_mode=True), 2),
    torch.randn(8, 64, 9, 9),
)
CASES["mean without the padding"] = lambda: (
    pooled(nn.AvgPool1d(8, 8, 4, count_include_pad=False), 1),
    torch.randn(8, 64, 18),
)
CASES["mean with a divisor"] = lambda: (
    pooled(nn.AvgPool3d(3, 2, 1, divisor_override=8), 3),
    torch.randn(8, 64, 5, 5, 5),
)
CASES["a constant far below 0"] = lambda: (Lowered(), torch.randn(64, WIDTH))
CASES["masked windows"] = lambda: (SelfAttention(4, 0.3, True, -100.0), torch.randn(8, 40, WIDTH))
CASES["batch norm at borders"] = lambda: (bordered(), torch.randn(8, 64, 4, 4))
CASES["maximum over branches"] = lambda: (PooledBranches(), torch.randn(8, 64, 8, 8))
CASES["GLU of two layers"] = lambda: (Gated(), torch.randn(64, WIDTH))
CASES["branches of unequal scale"] = lambda: (Branches(), torch.randn(8, 64, 8, 8))
CASES["stacked rows of unequal scale"] = lambda: (Stacked(), torch.randn(64, WIDTH))


@pytest.mark.parametrize("name", CASES)
def test_an_operation_has_a_prediction_within_its_spread(name):
    torch.manual_seed(0)
    for layer in probe(*CASES[name](), try_fixes=False, threads=1).layers:
        assert layer.model_theory.restarted is None
        for column in (layer.model_theory.local, layer.model_theory.end_to_end):
            for tensor in TENSORS:
                predicted = getattr(column, tensor)
                if predicted.reason != "no gradient":
                    assert predicted.reason is None, (layer.name, tensor)
                    assert abs(predicted.z) < 5 and predicted.log_sd < SPREADS.get(name, 0.1), (
                        layer.name,
                        tensor,
                        predicted,
                    )
