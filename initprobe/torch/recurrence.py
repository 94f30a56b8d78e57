"""What the gates of a recurrence do, made again from its weights and its input: the calls themselves are opaque."""

from __future__ import annotations

from typing import Any

import torch

_SAMPLES, _STEPS = 16, 64
# The order in which torch packs them: input, forget, cell, output; reset, update, new.
_FORGET = {"lstm": 1, "gru": 1}


def gate_facts(name: str, args: tuple[Any, ...]) -> dict[str, float]:
    """The mean of the gate that keeps the memory in the first layer: `keep`; and `steps` of the input.

    That is the forget gate of an LSTM, and of a GRU the update gate.
    """
    kind = name.removesuffix("_cell")
    if kind not in _FORGET:
        return {}
    if name.endswith("_cell"):
        x, weights, states = args[0], list(args[2:]), args[1]
        hidden = states[0] if isinstance(states, tuple | list) else states
        return _kept(kind, x.detach()[None, :_SAMPLES], weights, hidden.detach()[:_SAMPLES], 1)
    if isinstance(args[3], tuple | list):  # packed: samples of other lengths in one row
        return _kept(kind, args[0].detach()[None, :_SAMPLES], list(args[3]), None, 1)
    x, weights, batch_first = args[0].detach(), list(args[2]), bool(args[8])
    x = x.unsqueeze(int(not batch_first)) if x.ndim == 2 else x
    x = x.transpose(0, 1) if batch_first else x
    return _kept(kind, x[:_STEPS, :_SAMPLES], weights, None, len(x))


def _kept(kind: str, x: Any, weights: list[Any], hidden: Any, steps: int) -> dict[str, float]:
    inner, recurrent = (one.detach().to(x.dtype) for one in weights[:2])
    size = recurrent.shape[1]
    if hidden is None and size * (4 if kind == "lstm" else 3) != len(inner):
        return {}  # with a projection
    bias = [one.detach().to(x.dtype) for one in weights[2:4] if one is not None and one.ndim == 1]
    first, second = [*bias, None, None][:2] if len(bias) == 2 else (None, None)
    state = x.new_zeros(x.shape[1], size) if hidden is None else hidden.to(x.dtype)
    cell, total = torch.zeros_like(state), 0.0  # all is detached, so nothing is kept for a way back
    for step in x:
        a = torch.nn.functional.linear(step, inner, first)
        b = torch.nn.functional.linear(state, recurrent, second)
        if kind == "lstm":
            into, keep, new, out = (a + b).chunk(4, -1)
            cell = keep.sigmoid() * cell + into.sigmoid() * new.tanh()
            state, kept = out.sigmoid() * cell.tanh(), keep.sigmoid()
        else:
            (r, z, n), (rh, zh, nh) = a.chunk(3, -1), b.chunk(3, -1)
            kept = (z + zh).sigmoid()
            state = (1 - kept) * (n + (r + rh).sigmoid() * nh).tanh() + kept * state
        total += float(kept.double().mean())
    return {"keep": total / len(x), "steps": float(steps)}
