"""The weights of a recurrence: orthogonal from step to step, unit variance from the input, and an open forget gate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from initprobe.torch.graph import Operation
from initprobe.torch.init_settings import Setting, setting
from initprobe.torch.layer_facts import GATES


def recurrence_settings(op: Operation, parameters: dict[str, Any]) -> Iterator[Setting]:
    """The settings of all weights and biases of a recurrence.

    Weights from step to step are orthogonal per gate (Saxe et al. 2014, arXiv:1312.6120). An LSTM's forget gate starts
    at a bias of 1 (Jozefowicz et al. 2015).

    Args:
        op: the call.
        parameters: every parameter by its first name.
    """
    kind = op.name.removesuffix("_cell")
    gates = len(GATES[kind]) if kind in GATES else 1
    for name in sorted(op.names):
        own = name.rpartition(".")[2]
        shape = tuple(parameters[name].shape)
        if own.startswith("weight_hh"):
            yield _recurrent(name, gates, parameters[name].dtype)
        elif own.startswith(("weight_ih", "weight_hr")):
            gain = math.sqrt(2) if "relu" in kind else 1.0
            std = gain / math.sqrt(shape[1])
            reason = f"{kind} from its input, gain {gain:.3g}; fan_in {shape[1]}"
            yield setting(name, f"nn.init.normal_({{}}, std={std:.4g})", reason, std)
        elif own.startswith("bias_ih") and kind == "lstm":
            size = shape[0] // gates
            call = f"nn.init.zeros_({{}})\nnn.init.ones_({{}}[{size}:{2 * size}])"
            yield setting(name, call, "the forget gate of an LSTM starts open: bias 1, all others 0")
        elif own.startswith("bias"):
            yield setting(name, "nn.init.zeros_({})", "biases start at 0")


def _recurrent(name: str, gates: int, dtype: Any) -> Setting:
    """Orthogonal. A dtype of 16 bits has no orthogonal draw in torch, so it is copied from one of 32 bits."""
    reason = "from step to step, orthogonal" + (f" in each of {gates} gates" if gates > 1 else "")
    target = "gate" if gates > 1 else "{}"
    call = f"nn.init.orthogonal_({target})"
    if dtype not in (torch.float32, torch.float64):
        call = f"{target}.copy_(nn.init.orthogonal_(torch.empty({target}.shape)))"
    if gates == 1:
        return setting(name, call, reason)
    return setting(name, f"for gate in {{}}.chunk({gates}):\n    {call}", reason)
