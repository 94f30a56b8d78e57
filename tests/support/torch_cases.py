"""Small models for `test_verdict.py`, each healthy or faulty in one way."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


def rows(batch, width, scale=1.0):
    return scale * torch.randn(batch, width)


def drawn(layer, std=None, nonlinearity="relu"):
    """He, or a given std, and no bias."""
    if std is None:
        nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)
    else:
        nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    """`x + scale * branch(x)`, with an optional norm after the sum."""

    def __init__(self, branch, scale=None, after=None):
        super().__init__()
        self.branch, self.after, self.scale = branch, after, scale

    def forward(self, x):
        made = self.branch(x)
        x = x + (made if self.scale is None else self.scale * made)
        return x if self.after is None else self.after(x)


def feed(width, std=0.02, last=None, norm=None):
    parts = [norm] if norm is not None else []
    down = drawn(nn.Linear(3 * width, width), std if last is None else last)
    return nn.Sequential(*parts, drawn(nn.Linear(width, 3 * width), std), nn.GELU(), down)


# Healthy models: model, input, loss.
def normed_branch(blocks, width=48):
    """x + norm(f(x)): the stream grows by 1 per block."""
    parts = [Residual(nn.Sequential(feed(width), nn.RMSNorm(width, eps=1e-6))) for _ in range(blocks)]
    return nn.Sequential(*parts), rows(64, width, 0.02)


def with_head(blocks, width=48):
    model, x = normed_branch(blocks, width)
    return nn.Sequential(model, nn.LayerNorm(width), drawn(nn.Linear(width, 300), 0.02)), x


def pre_norm(blocks, width=48):
    parts = [Residual(feed(width, norm=nn.LayerNorm(width))) for _ in range(blocks)]
    return nn.Sequential(*parts), rows(64, width, 0.03)


def post_norm(blocks, width=48):
    parts = [Residual(feed(width, std=1 / math.sqrt(2 * width)), after=nn.LayerNorm(width)) for _ in range(blocks)]
    return nn.Sequential(*parts), rows(64, width)


def layer_scale(blocks, width=48):
    scales = [nn.Parameter(torch.full((width,), 1e-5)) for _ in range(blocks)]
    parts = [Residual(feed(width, 0.1, norm=nn.LayerNorm(width)), scale) for scale in scales]
    return nn.Sequential(nn.Linear(20, width), *parts, nn.Linear(width, 7)), rows(64, 20)


def rezero(blocks, width=32):
    parts = [Residual(drawn(nn.Linear(width, width)), nn.Parameter(torch.zeros(1))) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(12, width), *parts, nn.Linear(width, 5)), rows(32, 12)


def fixup(blocks, width=32):
    """Two things that are 0, of which each opens the other."""
    head = drawn(nn.Linear(width, 5))
    nn.init.zeros_(head.weight)
    parts = [Residual(feed(width, 0.2, 0.0)) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(12, width), *parts, head), rows(32, 12)


class Bottle(nn.Module):
    """Of a batch-normed residual net: an in-place ReLU, and a projection where the stride changes."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.a, self.na = nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.b, self.nb = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        same = stride == 1 and channels == out
        shortcut = nn.Conv2d(channels, out, 1, stride, bias=False)
        self.skip = None if same else nn.Sequential(shortcut, nn.BatchNorm2d(out))

    def forward(self, x):
        made = self.nb(self.b(F.relu(self.na(self.a(x)), inplace=True)))
        made += x if self.skip is None else self.skip(x)
        return F.relu(made)


def batch_normed(blocks):
    widths = [8, *(8 * 2 ** (k // 3) for k in range(blocks))]
    stages = [Bottle(a, b, 1 if a == b else 2) for a, b in pairwise(widths)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 6)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *stages, *end), torch.randn(6, 3, 24, 24)


def pooled(blocks):
    parts, channels = [], 3
    for _ in range(blocks):
        parts += [drawn(nn.Conv2d(channels, 24, 3, padding=1)), nn.ReLU(), nn.MaxPool2d(2)]
        channels = 24
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(24, 4)), torch.randn(6, 3, 2**blocks, 2**blocks)


def readout(depth):
    """Torch's default draws, few layers, and a sigmoid at the end."""
    widths = [*[11, 48, 20, 48][:depth], 1]
    parts = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts[:-1], nn.Sigmoid()), rows(48, 11)


class Dense(nn.Module):
    """Every layer is given all before it."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(16 + 8 * k), nn.ReLU(), nn.Linear(16 + 8 * k, 8)) for k in range(layers)
        )

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def dense(layers):
    return Dense(layers), rows(48, 16)


class Mixer(nn.Module):
    """Across positions, then across channels, all by functions."""

    def __init__(self, tokens, width):
        super().__init__()
        self.n, self.m = nn.LayerNorm(width), nn.LayerNorm(width)
        self.a, self.b = nn.Linear(tokens, tokens), nn.Linear(width, width)

    def forward(self, x):
        x = x + F.gelu(self.a(self.n(x).transpose(1, 2))).transpose(1, 2)
        return x + F.gelu(self.b(self.m(x)))


def mixer(blocks):
    return nn.Sequential(*[Mixer(9, 24) for _ in range(blocks)]), torch.randn(8, 9, 24)


def frozen(blocks):
    """A backbone that does not learn, and a head that does."""
    model, x = batch_normed(blocks)
    for part in list(model)[:-1]:
        part.requires_grad_(False)
    return model, x


class Shaped(nn.Module):
    """A norm and an activation written by hand, and a gated pair."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.up, self.gate, self.down = (nn.Linear(width, width) for _ in range(3))
        for layer in (self.up, self.gate, self.down):
            drawn(layer, 0.05)

    def forward(self, x):
        h = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight
        g = self.gate(h)
        return x + self.down(g * torch.sigmoid(g) * self.up(h))


def by_hand(blocks):
    return nn.Sequential(*[Shaped(40) for _ in range(blocks)]), rows(48, 40)


class Iterated(nn.Module):
    """One weight used again and again, from zeros."""

    def __init__(self, times):
        super().__init__()
        self.u, self.w, self.o, self.times = nn.Linear(20, 40), nn.Linear(40, 40), nn.Linear(40, 3), times

    def forward(self, x):
        u = self.u(x)
        z = torch.zeros_like(u)
        for _ in range(self.times):
            z = torch.tanh(self.w(z) + u)
        return self.o(z)


def iterated(times):
    return Iterated(times), rows(24, 20)


class Scan(nn.Module):
    """A selective scan (Mamba). Its steps are softplus(z) of 0.001 to 0.1: flat on purpose, and a factor alone."""

    def __init__(self, width, states=8):
        super().__init__()
        self.norm, self.read, self.step = nn.RMSNorm(width), nn.Linear(width, 2 * states), nn.Linear(width, width)
        self.rates = nn.Parameter(torch.log(torch.arange(1.0, states + 1).repeat(width, 1)))
        steps = torch.exp(torch.empty(width).uniform_(math.log(0.001), math.log(0.1)))
        with torch.no_grad():
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x):
        given = self.norm(x)
        keys, queries = self.read(given).chunk(2, -1)
        steps = F.softplus(self.step(given))
        kept = torch.exp(torch.einsum("bld,dn->bldn", steps, -torch.exp(self.rates)))
        added = torch.einsum("bld,bln,bld->bldn", steps, keys, given)
        state, outputs = torch.zeros_like(kept[:, 0]), []
        for place in range(x.shape[1]):
            state = kept[:, place] * state + added[:, place]
            outputs.append((state @ queries[:, place].unsqueeze(-1)).squeeze(-1))
        return x + torch.stack(outputs, 1)


def scan(blocks):
    return nn.Sequential(*[Scan(24) for _ in range(blocks)]), torch.randn(4, 7, 24)


HEALTHY = {
    "normed branches": (normed_branch, (6, 20)),
    "normed branches and a head": (with_head, (6, 20)),
    "pre-norm": (pre_norm, (2, 12, 24)),
    "post-norm": (post_norm, (3, 12)),
    "LayerScale": (layer_scale, (1, 4, 5, 9)),
    "ReZero": (rezero, (1, 6)),
    "Fixup": (fixup, (1, 5)),
    "batch norm and skips": (batch_normed, (3, 9)),
    "pooled": (pooled, (3, 6)),
    "read-out": (readout, (2, 4)),
    "dense": (dense, (3, 9)),
    "mixer": (mixer, (2, 8)),
    "frozen": (frozen, (3,)),
    "by hand": (by_hand, (2, 10)),
    "iterated": (iterated, (3, 7)),
    "selective scan": (scan, (1, 4)),
}


# Faulty models: model, input, loss, rule, module.
def half(dies_first):
    def make():
        parts = []
        for k in range(16):
            layer = drawn(nn.Linear(96, 96), math.sqrt((1 / 3 if (k < 8) == dies_first else 2) / 96))
            parts += [layer, nn.ReLU()]
        module = "0" if dies_first else "16"
        return nn.Sequential(*parts, nn.Linear(96, 5)), rows(96, 96), None, "vanishing-output", module

    return make


def default(act, layers):
    def make():
        parts = [part for _ in range(layers) for part in (nn.Linear(80, 80), act())]
        return nn.Sequential(*parts, nn.Linear(80, 5)), rows(96, 80), None, "vanishing-gradient", None

    return make


def too_large():
    parts = [part for _ in range(8) for part in (drawn(nn.Linear(64, 64), 0.5), nn.ReLU())]
    return nn.Sequential(*parts), rows(64, 64), None, "exploding-output", "0"


def doubling():
    """Branches drawn by He and no norm: the stream doubles at every block."""
    blocks = [Residual(nn.Sequential(drawn(nn.Linear(48, 48)), nn.ReLU(), drawn(nn.Linear(48, 48)))) for _ in range(20)]
    return nn.Sequential(*blocks), rows(64, 48), None, "exploding-output", None


class InOut(nn.Module):
    """`x @ W` with W of shape (in, out)."""

    def __init__(self, width, out):
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.02 * torch.randn(width, out)), nn.Parameter(torch.zeros(out))

    def forward(self, x):
        return x @ self.weight + self.bias


def in_out():
    model = nn.Sequential(InOut(48, 48), nn.ReLU(), InOut(48, 48), nn.ReLU(), nn.Linear(48, 5))
    return model, rows(64, 48), None, "vanishing-output", "0"


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.act, self.out = nn.Parameter(torch.randn(3, 40, 40) * 12), nn.ReLU(), nn.Linear(40, 5)

    def forward(self, x):
        return self.out(self.act(torch.einsum("bi,eio->beo", x, self.up).mean(1)))


def experts():
    return Experts(), rows(48, 40), None, "exploding-output", "up"


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = drawn(nn.Linear(40, 40)), nn.Linear(40, 5)
        nn.init.constant_(self.a.bias, -9.0)

    def forward(self, x):
        return self.b(F.relu(self.a(x)))


def dead():
    return Functional(), rows(96, 40), None, "dead-layer", "a"


def half_dead():
    model = nn.Sequential(drawn(nn.Linear(40, 60)), nn.ReLU(), drawn(nn.Linear(60, 60)), nn.ReLU(), nn.Linear(60, 5))
    with torch.no_grad():
        model[2].bias[:36] = -30.0
    return model, rows(96, 40), None, "dead-units", "2"


def saturated():
    model = nn.Sequential(nn.Linear(40, 90), nn.ELU(), nn.Linear(90, 12))
    nn.init.constant_(model[0].bias, -5.0)
    return model, rows(96, 40), None, "saturated", "0"


class Bare(nn.Module):
    """A parameter of its own, and fan_in x Var(W) = 5: 36% of |tanh| is above 0.97."""

    def __init__(self):
        super().__init__()
        self.w, self.out = nn.Parameter(torch.randn(500, 40) * 0.1), nn.Linear(40, 5)

    def forward(self, x):
        return self.out(torch.tanh(x @ self.w))


def saturated_by_weights():
    return Bare(), rows(96, 500), None, "saturated", "w"


def silent_norm():
    parts = [p for _ in range(5) for p in (drawn(nn.Conv2d(12, 12, 3, padding=1)), nn.BatchNorm2d(12), nn.ReLU())]
    nn.init.zeros_(parts[7].weight)
    model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(12 * 36, 5))
    return model, torch.randn(6, 12, 6, 6), None, "norm-weight", "7"


def loud_norm(value):
    def make():
        parts = [p for _ in range(5) for p in (nn.RMSNorm(64), nn.Linear(64, 64, bias=False), nn.GELU())]
        nn.init.constant_(parts[6].weight, value)
        return nn.Sequential(*parts), rows(48, 64), None, "norm-weight", "6"

    return make


def eps():
    parts = [p for _ in range(4) for p in (nn.LayerNorm(64, eps=0.5), nn.Linear(64, 64, bias=False))]
    return nn.Sequential(*parts), rows(48, 64, 0.01), None, "norm-eps", None


def odd_sibling():
    model, x = pre_norm(9)
    with torch.no_grad():
        model[4].branch[3].weight.mul_(12)
    return model, x, None, "odd-layer", "4.branch.3"


def clones():
    layer = nn.TransformerEncoderLayer(32, 2, 48, batch_first=True, dropout=0.0)
    model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    return model, torch.randn(4, 9, 32), None, "copied-layers", "layers.1"


def equal_rows():
    model = nn.Sequential(nn.Linear(40, 50), nn.Tanh(), nn.Linear(50, 5))
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight[:1].expand(50, 40).clone())
        model[0].bias.zero_()
    return model, rows(48, 40), None, "symmetric", "0"


class Attention(nn.Module):
    def __init__(self, width, heads, scaled):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.heads, self.scaled = heads, scaled
        for layer in (self.q, self.k, self.v, self.o):
            nn.init.xavier_normal_(layer.weight)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (w(x).view(batch, length, self.heads, -1).transpose(1, 2) for w in (self.q, self.k, self.v))
        logits = q @ k.transpose(-1, -2) / (math.sqrt(width / self.heads) if self.scaled else 1.0)
        return x + self.o((logits.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width))


def attending(scaled=False):
    parts = [part for _ in range(3) for part in (nn.LayerNorm(128), Attention(128, 2, scaled))]
    return nn.Sequential(*parts), torch.randn(4, 24, 128), None, "attention-logits", None


LABELS = torch.arange(48) % 5


def cross_entropy(y):
    return F.cross_entropy(y, LABELS)


def twice():
    model = nn.Sequential(nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 5), nn.Softmax(-1))
    return model, rows(48, 40), cross_entropy, "double-softmax", "3"


def confident():
    model = nn.Sequential(drawn(nn.Linear(40, 40)), nn.ReLU(), drawn(nn.Linear(40, 5), 3.0))
    return model, rows(48, 40), cross_entropy, "starting-loss", "2"


def pixels():
    model = nn.Sequential(drawn(nn.Linear(40, 40)), nn.ReLU(), drawn(nn.Linear(40, 5)))
    return model, 255 * torch.rand(48, 40), None, "input-scale", "0"


def weight_normed():
    wrap = nn.utils.parametrizations.weight_norm
    parts = [p for _ in range(9) for p in (wrap(nn.Linear(48, 48, bias=False)), nn.ReLU())]
    return nn.Sequential(*parts), rows(64, 48), None, "vanishing-output", "0"


def transposed():
    parts = [p for _ in range(4) for p in (nn.ConvTranspose2d(40, 40, 2, stride=2, bias=False), nn.ReLU())]
    for layer in parts[::2]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(*parts), torch.randn(6, 40, 3, 3), None, "vanishing-output", "0"


def inactive():
    parts = [
        p
        for _ in range(6)
        for p in (drawn(nn.Conv2d(12, 12, 3, padding=1, bias=False), 0.01), nn.BatchNorm2d(12), nn.ReLU())
    ]
    return nn.Sequential(*parts).eval(), torch.randn(6, 12, 6, 6), None, "fresh-batch-norm", None


FAULTY = {
    "second half dies": half(False),
    "first half dies": half(True),
    "torch's default and ReLU": default(nn.ReLU, 12),
    "torch's default and tanh": default(nn.Tanh, 16),
    "too large": too_large,
    "doubling stream": doubling,
    "x @ W": in_out,
    "experts": experts,
    "dead by its bias": dead,
    "half dead": half_dead,
    "saturated by its bias": saturated,
    "saturated by its weights": saturated_by_weights,
    "norm of 0 before ReLU": silent_norm,
    "norm of 0": loud_norm(0.0),
    "norm of 70": loud_norm(70.0),
    "eps": eps,
    "one odd sibling": odd_sibling,
    "copied layers": clones,
    "equal rows": equal_rows,
    "no 1/sqrt(d)": attending,
    "softmax twice": twice,
    "confident": confident,
    "pixels": pixels,
    "weight norm": weight_normed,
    "transposed": transposed,
    "fresh batch norm": inactive,
}
