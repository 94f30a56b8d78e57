"""The same table, figures and verdict for your own PyTorch model: `initprobe.torch.probe(model, x)`.

Start reading in `model_probe.py`. The rules of the verdict are in `verdict/`; their texts load without PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initprobe.torch.initialization import initialize
    from initprobe.torch.model_probe import probe

__all__ = ["initialize", "probe"]


def __getattr__(name: str) -> Any:
    """Load PyTorch when a function is first used, so that the texts of the rules need none (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'initprobe.torch' has no attribute {name!r}")
    from initprobe.torch.installed import require_torch

    require_torch()
    if name == "initialize":
        from initprobe.torch.initialization import initialize

        return initialize
    from initprobe.torch.model_probe import probe

    return probe
