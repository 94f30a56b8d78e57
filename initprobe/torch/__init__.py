"""The same table, figures and verdict for your own PyTorch model: `initprobe.torch.probe(model, x)`.

What comes in here: recording and measuring a model, fixes of its weights, and models named on a command line.
Only this room imports PyTorch. The rules of the verdict are in `verdict/`; their texts load without PyTorch.

Start reading in `model_probe.py`. `operations.py` records every call, and `graph.py` has what it records. `measure.py`
makes statistics, and `structure.py` finds layers, branches and heads. `fixes.py` tries the lines of the verdict, and
`initialization.py` sets all weights. `loading.py` makes a model and its input from the text of a command.
`width_study.py` compares models of several widths.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initprobe.torch.initialization import initialize
    from initprobe.torch.initialized import Initialized
    from initprobe.torch.model_probe import probe
    from initprobe.torch.width_study import width

_HOMES = {
    "Initialized": "initialized",
    "initialize": "initialization",
    "probe": "model_probe",
    "width": "width_study",
}

__all__ = ["Initialized", "initialize", "probe", "width"]


def __getattr__(name: str) -> Any:
    """Load PyTorch when a function is first used, so that the texts of the rules need none (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'initprobe.torch' has no attribute {name!r}")
    from initprobe.torch.installed import require_torch

    require_torch()
    return getattr(import_module(f"initprobe.torch.{_HOMES[name]}"), name)
