"""Small members of torchvision's families."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zoo_entry import Entry, images
from zoo_libraries import torchvision

# name, side of the images, samples
NAMES = [
    "alexnet:128:8",
    "vgg11",
    "vgg13_bn",
    "resnet18",
    "resnet34",
    "wide_resnet50_2:64:8",
    "squeezenet1_1:128:8",
    "densenet121",
    "googlenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet0_5",
    "shufflenet_v2_x0_5",
    "efficientnet_v2_s:64:8",
    "regnet_y_400mf",
    "convnext_tiny:64:2",
    "swin_t:64:2",
    "swin_v2_t:64:2",
    "vit_b_32:224:1",
    "maxvit_t:224:1",
]
SEGMENTING = ["fcn_resnet50:64:8", "deeplabv3_resnet50:64:8", "lraspp_mobilenet_v3_large:64:8"]


def entries() -> Iterator[Entry]:
    for text in NAMES:
        name, side, batch = (*text.split(":"), "", "")[:3]
        yield Entry(f"tv {name}", "torchvision", _maker(name, ""), images(int(batch or 8), int(side or 64)))
    for text in SEGMENTING:
        name, side, batch = text.split(":")
        maker = _maker(name, "segmentation", weights_backbone=None)
        yield Entry(f"tv {name}", "torchvision", maker, images(int(batch), int(side)))


def _maker(name: str, below: str, **options: Any) -> Any:
    def make() -> Any:
        home = torchvision().models
        home = getattr(home, below) if below else home
        extra = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
        return getattr(home, name)(weights=None, **options, **extra)

    return make
