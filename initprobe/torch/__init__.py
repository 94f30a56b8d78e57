"""The same table, figures and verdict for your own PyTorch model: `initprobe.torch.probe(model, x)`.

What comes in here: recording and measuring a model, fixes of its weights, and models named on a command line.
Only this room imports PyTorch. The rules of the verdict are in `verdict/`; their texts load without PyTorch.

Start reading in `model_probe.py`. `operations.py` records every call, and `graph.py` has what it records. `measure.py`
makes statistics, and `structure.py` finds layers, branches and heads. `fixes.py` tries the lines of the verdict, and
`initialization.py` sets all weights. `loading.py` makes a model and its input from the text of a command.
`width_study.py` compares models of several widths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initprobe.torch.initialization import initialize
    from initprobe.torch.model_probe import probe
    from initprobe.torch.width_study import width

__all__ = ["initialize", "probe", "width"]


def __getattr__(name: str) -> Any:
    """Load PyTorch when a function is first used, so that the texts of the rules need none (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'initprobe.torch' has no attribute {name!r}")
    from initprobe.torch.installed import require_torch

    require_torch()
    if name == "initialize":
        from initprobe.torch.initialization import initialize

        return initialize
    if name == "width":
        from initprobe.torch.width_study import width

        return width
    from initprobe.torch.model_probe import probe

    return probe
