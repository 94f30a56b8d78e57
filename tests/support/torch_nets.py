"""Models that the tests of PyTorch models share, each with a feature that is hard to record."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


def mlp(act=nn.GELU, layers=6, width=100):
    """Linear layers as torch draws them."""
    inner = [part for _ in range(layers) for part in (nn.Linear(width, width), act())]
    return nn.Sequential(*inner)


class Block(nn.Module):
    """Two convolutions with batch norm, an in-place sum, and one in-place ReLU that is used twice."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(channels, out, 1, stride, bias=False) if stride > 1 or channels != out else nn.Identity()

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.down(x)
        return self.relu(y)


class ResNet(nn.Module):
    """A small residual net of convolutions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2), Block(16, 16, 1))
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


class Functional(nn.Module):
    """Activations that are calls of functions."""

    def __init__(self, layers=6, width=100):
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({"fc": nn.Linear(width, width)}) for _ in range(layers))
        for block in self.blocks:
            nn.init.kaiming_normal_(block["fc"].weight, nonlinearity="relu")

    def forward(self, x):
        for block in self.blocks:
            x = F.relu(block["fc"](x))
        return x


def encoder(**options):
    """Three layers of a transformer."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, **options)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=not options.get("norm_first", False))
    for parameter in model.parameters():  # torch makes copies of one layer
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    return model


class CausalBlock(nn.Module):
    """Attention by a function, a pre-norm, and sums that no module sees."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Language(nn.Module):
    """A small language model, drawn as such models are: std 0.02, branches smaller with depth, a tied read-out."""

    def __init__(self, layers=6, width=64):
        super().__init__()
        self.embed = nn.Embedding(100, width)
        self.blocks = nn.ModuleList(CausalBlock(width, 4) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 100, bias=False)
        self.head.weight = self.embed.weight
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5 if last else 0.02)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def normed():
    """A deep net that a norm holds together, whatever the weights."""
    parts = [part for _ in range(8) for part in (nn.Linear(100, 100), nn.LayerNorm(100), nn.GELU())]
    return nn.Sequential(*parts, nn.Linear(100, 3))


def generator():
    """From noise to images."""
    return nn.Sequential(
        nn.ConvTranspose2d(100, 32, 4), nn.BatchNorm2d(32), nn.ReLU(True), nn.ConvTranspose2d(32, 16, 4, 2, 1),
        nn.BatchNorm2d(16), nn.ReLU(True), nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def bottleneck():
    """From wide to narrow and back."""
    sizes = [784, 128, 16, 128, 784]
    pairs = [(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes)]
    for linear, _ in pairs:
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    return nn.Sequential(*[part for pair in pairs for part in pair][:-1], nn.Sigmoid())


class Tagger(nn.Module):
    """Whole numbers in, a tuple out, a recurrent module, a tied weight and a buffer that counts."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.rnn = nn.LSTM(16, 16, batch_first=True)
        self.head = nn.Linear(16, 50)
        self.head.weight = self.embed.weight
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, tokens):
        self.seen += 1
        states, (last, _) = self.rnn(self.embed(tokens))
        return self.head(states), last


class Attending(nn.Module):
    """A linear layer, then attention on what it gives."""

    def __init__(self, whole):
        super().__init__()
        self.q, self.a = nn.Linear(32, 32), nn.MultiheadAttention(32, 4, batch_first=True)
        self.whole = whole

    def forward(self, x):
        h = self.q(x)
        attended = self.a(h, h, h)
        return attended if self.whole else attended[0]


class Detached(nn.Module):
    """No way back from the second layer to the first."""

    def __init__(self):
        super().__init__()
        self.a, self.act, self.b = nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 10)

    def forward(self, x):
        return self.b(self.act(self.a(x)).detach())


class Silenced(Detached):
    """Nothing gets from the first layer to the second."""

    def forward(self, x):
        return self.b(self.act(self.a(x)) * 0)


class Autoencoder(nn.Module):
    """A trunk with two heads beside each other."""

    def __init__(self):
        super().__init__()
        self.e, self.act = nn.Linear(100, 100), nn.ReLU()
        self.mu, self.lv = nn.Linear(100, 20), nn.Linear(100, 20)

    def forward(self, x):
        h = self.act(self.e(x))
        return self.mu(h), self.lv(h)
