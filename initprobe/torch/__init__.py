"""The same table, figures and verdict for somebody's own PyTorch model: `initprobe.torch.probe(model, x)`."""

from __future__ import annotations

try:
    import torch as _torch
except ImportError as error:
    from initprobe.errors import MissingLibraryError

    raise MissingLibraryError("initprobe.torch needs PyTorch: pip install 'initprobe[torch]'") from error


from initprobe.torch.model_probe import probe

__all__ = ["probe"]
del _torch
