"""Networks of any width: in standard parametrization, in muP, and in muP with a fault."""

import torch
import torch.nn.functional as F
from torch import nn


class MLP(nn.Module):
    def __init__(self, width, features=16):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(features, width), nn.Linear(width, width), nn.Linear(width, width)
        self.head = nn.Linear(width, 10)
        for layer in (self.fc1, self.fc2, self.fc3, self.head):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.head(F.relu(self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.blocks, self.head = nn.Sequential(Block(width), Block(width)), nn.Linear(width, 10)
        nn.init.normal_(self.head.weight, std=width**-0.5)
        nn.init.zeros_(self.head.bias)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x):
        return self.head(self.blocks(F.relu(self.bn(self.stem(x)))).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, width, scale):
        super().__init__()
        self.norm1, self.norm2, self.scale = nn.LayerNorm(width), nn.LayerNorm(width), scale
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        for layer in (self.q, self.k, self.v, self.o, self.fc1, self.fc2):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(self, x):
        y = self.norm1(x)
        q, k, v = (layer(y).view(*y.shape[:2], 4, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, width, scale):
        super().__init__()
        self.emb, self.pos = nn.Embedding(100, width), nn.Parameter(torch.randn(32, width))
        self.blocks = nn.Sequential(*(Attention(width, scale) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 100, bias=False)
        nn.init.normal_(self.head.weight, std=width**-0.5)

    def forward(self, ids):
        return self.head(self.norm(self.blocks(self.emb(ids) + self.pos[: ids.shape[1]])))


def transformer(width):
    return Transformer(width, (width / 4) ** -0.5)


STANDARD = {"mlp": MLP, "resnet": ResNet, "transformer": transformer}
BASES = {"mlp": 64, "resnet": 16, "transformer": 64}


def is_matrix(name, parameter):
    """Both its fans grow with the width."""
    return parameter.ndim > 1 and not any(part in name for part in ("fc1.weight", "stem", "emb", "pos", "head"))


def scaled(kind, optimizer, swapped=()):
    """A function of the width in muP (table 3 of arXiv:2203.03466), with the rates of two parameters exchanged."""
    base = BASES[kind]

    def make(width):
        model = STANDARD[kind](width) if kind != "transformer" else Transformer(width, 16 / width * 4)
        ratio = width / base
        with torch.no_grad():
            model.head.weight.mul_(ratio**-0.5)
            if kind == "transformer":
                for block in model.blocks:
                    block.q.weight.zero_()
        rates = {name: rate(kind, optimizer, name, parameter, ratio) for name, parameter in model.named_parameters()}
        if swapped:
            first, second = swapped
            rates[first], rates[second] = rates[second], rates[first]
        groups = [{"params": [parameter], "lr_scale": rates[name]} for name, parameter in model.named_parameters()]
        return model, groups

    return make


def rate(kind, optimizer, name, parameter, ratio):
    """The factor of the learning rate of a parameter."""
    is_hidden = is_matrix(name, parameter) or (kind == "transformer" and name.endswith("fc1.weight"))
    if name == "head.weight" or (is_hidden and optimizer != "sgd"):
        return 1 / ratio
    return 1.0 if is_hidden or optimizer != "sgd" or name == "head.bias" else ratio


def batch(kind, seed=0):
    """A small batch: fewer samples and positions than units."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "transformer":
        return torch.randint(0, 100, (2, 8), generator=generator)
    return torch.randn((8, 3, 4, 4) if kind == "resnet" else (16, 16), generator=generator)


def widths_of(kind):
    """Widths that are measured in a second."""
    return (16, 32, 64, 128) if kind == "resnet" else (64, 128, 256) if kind == "transformer" else (64, 128, 256, 512)


def fixed_by(check):
    """The lines of a fix, each as a pair of what is multiplied and by what."""
    return {tuple(line.removeprefix("multiply the ").split(" by ")) for line in check.fix}
