"""Libraries of models, imported late; what is not installed says so."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch


@cache
def _with_operators() -> Any:
    """A torchvision that was built beside another torch lacks the operators it describes; classifiers need none."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    if find_spec("torchvision") is not None and "+cpu" in torch.__version__:
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def timm() -> Any:
    _with_operators()
    return import_module("timm")


def torchvision() -> Any:
    _with_operators()
    return import_module("torchvision")


def transformers() -> Any:
    _with_operators()
    return import_module("transformers")


def diffusers() -> Any:
    _with_operators()
    return import_module("diffusers")
