"""Networks on which predictions are compared with measurements: at least 256 wide where their authors allow it.

Each is small enough for many draws on two cores. `make` draws the weights as the authors do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from zoo_entry import Entry, ids, images, rows
from zoo_libraries import timm, torchvision, transformers
from zoo_parts import chain, conv, he, seq

WIDTH = 256
SILU_GAIN = 1.6765324703310907  # of std = gain / sqrt(fan_in): keeps E[h^2] = 1 at infinite width, and is unstable
WORDS = {"vocab_size": 500, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TOWER = {"hidden_size": WIDTH, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 512}
REAL = (
    "MLP", "VGG-11", "ResNet-18", "ResNet-50", "ConvNeXt-atto", "ViT-tiny", "GPT-2", "Llama", "BERT", "MLP-Mixer",
    "U-Net",
)  # fmt: skip


class Unet(nn.Module):
    """Ronneberger et al. 2015, three levels: convolutions with He's draw and batch norm, skips by concatenation."""

    def __init__(self, widths: tuple[int, int, int] = (64, 128, 256)) -> None:
        super().__init__()
        a, b, c = widths
        self.first, self.second, self.third = _pair(3, a), _pair(a, b), _pair(b, c)
        self.up1, self.up2 = nn.ConvTranspose2d(c, b, 2, 2), nn.ConvTranspose2d(b, a, 2, 2)
        self.fourth, self.fifth, self.out = _pair(2 * b, b), _pair(2 * a, a), nn.Conv2d(a, 2, 1)

    def forward(self, x: Any) -> Any:
        a = self.first(x)
        b = self.second(F.max_pool2d(a, 2))
        c = self.third(F.max_pool2d(b, 2))
        d = self.fourth(torch.cat([self.up1(c), b], 1))
        return self.out(self.fifth(torch.cat([self.up2(d), a], 1)))


def _pair(inner: int, outer: int) -> nn.Module:
    """Two convolutions, each with batch norm and ReLU."""
    pairs = ((inner, outer), (outer, outer))
    return seq(*[part for a, b in pairs for part in (he(conv(a, b)), nn.BatchNorm2d(b), nn.ReLU())])


def upsampler() -> nn.Module:
    """Transposed convolutions that double the side, with variance 2 over the true number of summands of an output."""

    def up(inner: int, outer: int, kernel: int, padding: int) -> nn.Module:
        layer = nn.ConvTranspose2d(inner, outer, kernel, 2, padding, bias=False)
        nn.init.normal_(layer.weight, std=math.sqrt(2 / (inner * kernel * kernel / 4)))
        return layer

    parts = [(WIDTH, WIDTH, 2, 0), (WIDTH, WIDTH, 4, 1), (WIDTH, WIDTH, 2, 0), (WIDTH, 3, 4, 1)]
    return seq(*[part for sizes in parts for part in (up(*sizes), nn.ReLU())][:-1])


def silu(layer: Any) -> Any:
    """Weights that keep the mean square of SiLU's output."""
    nn.init.normal_(layer.weight, std=SILU_GAIN / math.sqrt(layer.in_features))
    nn.init.zeros_(layer.bias)
    return layer


def _language(family: str, kind: str, fields: dict[str, Any]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        library = transformers()
        config = library.AutoConfig.for_model(family, **(WORDS | fields))
        model: nn.Module = getattr(library, kind).from_config(config).train()
        return model

    return make


def entries() -> Iterator[Entry]:
    """Eleven real networks, then three that isolate one kind of layer."""
    gpt2 = {"n_embd": WIDTH, "n_layer": 6, "n_head": 4, "use_cache": False}
    llama = TOWER | {"num_key_value_heads": 2, "use_cache": False}
    deep = [WIDTH] * 31
    yield Entry("MLP", "by hand", lambda: chain([784, *[WIDTH] * 6, 10], nn.ReLU, he), rows(256, 784))
    yield Entry("VGG-11", "torchvision", lambda: torchvision().models.vgg11(num_classes=100), images(4, 224))
    yield Entry("ResNet-18", "torchvision", lambda: torchvision().models.resnet18(num_classes=100), images(8, 64))
    yield Entry("ResNet-50", "torchvision", lambda: torchvision().models.resnet50(num_classes=100), images(8, 64))
    yield Entry("ConvNeXt-atto", "timm", _timm("convnext_atto"), images(8, 64))
    yield Entry("ViT-tiny", "timm", _timm("vit_tiny_patch16_224", img_size=96), images(8, 96))
    yield Entry("GPT-2", "transformers", _language("gpt2", "AutoModelForCausalLM", gpt2), ids(8))
    yield Entry("Llama", "transformers", _language("llama", "AutoModelForCausalLM", llama), ids(8))
    yield Entry("BERT", "transformers", _language("bert", "AutoModel", TOWER), ids(8))
    yield Entry("MLP-Mixer", "timm", _timm("mixer_s16_224", img_size=128), images(4, 128))
    yield Entry("U-Net", "by hand", Unet, images(4, 32))
    yield Entry("SiLU x30", "by hand", lambda: chain(deep, nn.SiLU, silu), rows(256, WIDTH))
    yield Entry("ReLU x30", "by hand", lambda: chain(deep, nn.ReLU, he), rows(256, WIDTH))
    yield Entry("transposed convolutions", "by hand", upsampler, images(4, 8, WIDTH))


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: timm().create_model(name, pretrained=False, num_classes=100, **options)
