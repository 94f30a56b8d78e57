"""What the gates of a recurrence do, computed again from its weights and its input, as the calls are opaque."""

from __future__ import annotations

from typing import Any

import torch

_SAMPLES, _STEPS = 16, 64  # that are computed again
# Torch packs the gates in this order: input, forget, cell, output; reset, update, new.
_GATES = {"lstm": ("input", "forget", "output"), "gru": ("reset", "update")}


def gate_facts(name: str, args: tuple[Any, ...]) -> dict[str, float]:
    """Facts about the first layer of a recurrence; nothing for one without gates, or with a projection.

    Returns:
        The mean of each gate: of an LSTM `input`, `forget` and `output`, of a GRU `reset` and `update`.
        `keep`: of the gate that keeps the memory: of an LSTM the forget gate, of a GRU the update gate.
        `steps`: steps of the input.
    """
    kind = name.removesuffix("_cell")
    if kind not in _GATES:
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


def glu_facts(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, float]:
    """`gate`: mean of the sigmoid of the second half, by which `glu` multiplies the first."""
    given, axis = (*args, kwargs.get("input"))[0], kwargs.get("dim", args[1] if len(args) > 1 else -1)
    return {"gate": float(given.detach().chunk(2, axis)[1].float().sigmoid().mean())}


def _kept(kind: str, x: Any, weights: list[Any], hidden: Any, steps: int) -> dict[str, float]:
    """The facts, from the input `(steps, samples, size)` and the weights in torch's order."""
    inner, recurrent = (weight.detach().to(x.dtype) for weight in weights[:2])
    size = recurrent.shape[1]
    if hidden is None and size * (4 if kind == "lstm" else 3) != len(inner):
        return {}  # it has a projection
    bias = [part.detach().to(x.dtype) for part in weights[2:4] if part is not None and part.ndim == 1]
    first, second = [*bias, None, None][:2] if len(bias) == 2 else (None, None)
    state = x.new_zeros(x.shape[1], size) if hidden is None else hidden.to(x.dtype)
    cell, totals = torch.zeros_like(state), [0.0] * len(_GATES[kind])
    for step in x:
        a = torch.nn.functional.linear(step, inner, first)
        b = torch.nn.functional.linear(state, recurrent, second)
        if kind == "lstm":
            into, keep, new, out = (a + b).chunk(4, -1)
            gates = [gate.sigmoid() for gate in (into, keep, out)]
            cell = gates[1] * cell + gates[0] * new.tanh()
            state = gates[2] * cell.tanh()
        else:
            (r, z, n), (rh, zh, nh) = a.chunk(3, -1), b.chunk(3, -1)
            gates = [(r + rh).sigmoid(), (z + zh).sigmoid()]
            state = (1 - gates[1]) * (n + gates[0] * nh).tanh() + gates[1] * state
        totals = [total + float(gate.double().mean()) for total, gate in zip(totals, gates, strict=True)]
    means = [total / len(x) for total in totals]
    return {**dict(zip(_GATES[kind], means, strict=True)), "keep": means[1], "steps": float(steps)}
