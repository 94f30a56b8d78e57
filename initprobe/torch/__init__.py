"""The same table, figures and verdict for your own PyTorch model: `initprobe.torch.probe(model, x)`.

Start reading in `model_probe.py`. The rules of the verdict are in `verdict/`; their texts load without PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initprobe.torch.model_probe import probe

__all__ = ["probe"]


def __getattr__(name: str) -> Any:
    """Load PyTorch when `probe` is first used, so that the texts of the rules need none (PEP 562)."""
    if name != "probe":
        raise AttributeError(f"module 'initprobe.torch' has no attribute {name!r}")
    from initprobe.torch.installed import require_torch

    require_torch()
    from initprobe.torch.model_probe import probe

    return probe
