"""What the gates of a recurrence do, computed again from its weights and its input, as the calls are opaque."""

from __future__ import annotations

from typing import Any

import torch

_SAMPLES, _STEPS = 16, 64  # that are computed again
# Torch packs the gates in this order: input, forget, cell, output; reset, update, new.
_GATED = frozenset(("lstm", "gru"))


def gate_facts(name: str, args: tuple[Any, ...]) -> dict[str, float]:
    """Facts about the first layer of a recurrence; nothing for one without gates, or with a projection.

    Returns:
        `keep`: mean of the gate that keeps the memory: of an LSTM the forget gate, of a GRU the update gate.
        `steps`: steps of the input.
    """
    kind = name.removesuffix("_cell")
    if kind not in _GATED:
        return {}
    if name.endswith("_cell"):
        x, weights, states = args[0], list(args[2:]), args[1]
        hidden = states[0] if isinstance(states, tuple | list) else states
        return _kept(kind, x.detach()[None, :_SAMPLES], weights, hidden.detach()[:_SAMPLES], 1)
    if isinstance(args[3], tuple | list):  # packed: samples of different lengths, one after the other
        return _kept(kind, args[0].detach()[None, :_SAMPLES], list(args[3]), None, 1)
    x, weights, batch_first = args[0].detach(), list(args[2]), bool(args[8])
    x = x.unsqueeze(int(not batch_first)) if x.ndim == 2 else x
    x = x.transpose(0, 1) if batch_first else x
    return _kept(kind, x[:_STEPS, :_SAMPLES], weights, None, len(x))


def _kept(kind: str, x: Any, weights: list[Any], hidden: Any, steps: int) -> dict[str, float]:
    """The facts, from the input `(steps, samples, size)` and the weights in torch's order."""
    inner, recurrent = (weight.detach().to(x.dtype) for weight in weights[:2])
    size = recurrent.shape[1]
    if hidden is None and size * (4 if kind == "lstm" else 3) != len(inner):
        return {}  # it has a projection
    bias = [part.detach().to(x.dtype) for part in weights[2:4] if part is not None and part.ndim == 1]
    first, second = [*bias, None, None][:2] if len(bias) == 2 else (None, None)
    state = x.new_zeros(x.shape[1], size) if hidden is None else hidden.to(x.dtype)
    cell, total = torch.zeros_like(state), 0.0
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
