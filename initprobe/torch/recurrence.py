"""What the gates of a recurrence do, computed again from its weights and its input, as the calls are opaque."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.torch.layer_facts import GATES

_SAMPLES, _STEPS = 16, 64  # that are computed again
_DEEP = 5  # layers of a recurrence from which its gradient is followed through them
_KEEPING: Mapping[str, str] = {"lstm": "forget", "gru": "update"}
_CANDIDATES = ("cell", "new")


def gate_facts(name: str, args: tuple[Any, ...], made: Any) -> dict[str, float]:
    """Facts about the gates of a recurrence; nothing for one with a projection.

    Args:
        name: of the function.
        args: its arguments.
        made: its output.

    Returns:
        The mean of each gate of the first layer. An LSTM has `input`, `forget` and `output`, a GRU `reset` and
        `update`. `keep`: of the gate that keeps the memory: of an LSTM the forget gate, of a GRU the update gate.
        `steps`: steps of the input. Facts of every layer and direction have torch's suffix of its parameters, as in
        `forget_l1`. `saturated_l1` is the share of its gates and candidates that is saturated on both sides: twice the
        smaller side. Of deep ones `back_l1`: squared norm of the gradient at the output of each layer. Of a plain
        recurrence with tanh only `saturated_l0`, of its outputs.
    """
    kind = name.removesuffix("_cell")
    if kind == "rnn_tanh":
        plain = made.detach()
        return {"saturated_l0": _saturated(plain, "tanh")} if plain.numel() else {}
    if kind not in GATES:
        return {}
    if name.endswith("_cell"):
        x, weights, states = args[0], list(args[2:]), args[1]
        hidden = states[0] if isinstance(states, tuple | list) else states
        layers = [("", weights)]
        return _all_facts(kind, x.detach()[None, :_SAMPLES], layers, False, hidden.detach()[:_SAMPLES], 1)
    if isinstance(args[3], tuple | list):  # packed: samples of different lengths, one after the other
        layers = _by_layer(list(args[3]), bool(args[4]), bool(args[8]))[: 1 + bool(args[8])]
        return _all_facts(kind, args[0].detach()[None, :_SAMPLES], layers, bool(args[8]), None, 1)
    x, batch_first = args[0].detach(), bool(args[8])
    layers = _by_layer(list(args[2]), bool(args[3]), bool(args[7]))
    x = x.unsqueeze(int(not batch_first)) if x.ndim == 2 else x
    x = x.transpose(0, 1) if batch_first else x
    return _all_facts(kind, x[:_STEPS, :_SAMPLES], layers, bool(args[7]), None, len(x))


def glu_facts(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, float]:
    """`gate`: mean of the sigmoid of the second half, by which `glu` multiplies the first.

    Args:
        args, kwargs: of the call.
    """
    given, axis = (*args, kwargs.get("input"))[0], kwargs.get("dim", args[1] if len(args) > 1 else -1)
    return {"gate": float(given.detach().chunk(2, axis)[1].float().sigmoid().mean())}


def _by_layer(weights: list[Any], has_biases: bool, both_ways: bool) -> list[tuple[str, list[Any]]]:
    """The weights of each layer and direction, by torch's suffix of their names."""
    size = 4 if has_biases else 2
    groups = [weights[place : place + size] for place in range(0, len(weights), size)]
    ways = 1 + both_ways
    return [(f"_l{place // ways}{'_reverse' * (place % ways)}", group) for place, group in enumerate(groups)]


def _all_facts(
    kind: str, x: Any, layers: Sequence[tuple[str, list[Any]]], both_ways: bool, hidden: Any, steps: int
) -> dict[str, float]:
    """The facts, from the input `(steps, samples, size)` and the weights of each layer in torch's order."""
    width = 1 + both_ways
    facts = dict(_back(kind, x, layers)) if not both_ways and len(layers) >= _DEEP else {}
    for start in range(0, len(layers), width):
        outputs = []
        for suffix, weights in layers[start : start + width]:
            matrices = _matrices(kind, x, weights)
            if matrices is None:
                return facts
            is_reverse = suffix.endswith("_reverse")
            states, parts = _run(kind, x.flip(0) if is_reverse else x, *matrices, weights[2:4], hidden)
            facts |= {f"{name}{suffix}": value for name, value in _means(kind, parts)}
            outputs.append(states.flip(0) if is_reverse else states)
        x = torch.cat(outputs, -1)
    first = {name: facts[f"{name}{layers[0][0]}"] for name in GATES[kind] if name not in _CANDIDATES}
    return {**facts, **first, "keep": first[_KEEPING[kind]], "steps": float(steps)}


def _matrices(kind: str, x: Any, weights: Sequence[Any]) -> tuple[Any, Any] | None:
    """The weights from the input and from step to step, in the dtype of the input; None with a projection."""
    inner, recurrent = (weight.detach().to(x.dtype) for weight in weights[:2])
    is_projected = recurrent.shape[1] * len(GATES[kind]) != len(inner) or inner.shape[1] != x.shape[-1]
    return None if is_projected else (inner, recurrent)


def _run(
    kind: str, x: Any, inner: Any, recurrent: Any, biases: Sequence[Any], hidden: Any
) -> tuple[Any, list[list[Any]]]:
    """The states at every step, and at every step each gate and candidate."""
    bias = [part.detach().to(x.dtype) for part in biases if part is not None and part.ndim == 1]
    first, second = bias if len(bias) == 2 else (None, None)
    state = x.new_zeros(x.shape[1], recurrent.shape[1]) if hidden is None else hidden.to(x.dtype)
    cell, states, parts = torch.zeros_like(state), [], []
    for step in x:
        a = torch.nn.functional.linear(step, inner, first)
        b = torch.nn.functional.linear(state, recurrent, second)
        if kind == "lstm":
            into, keep, new, out = (a + b).chunk(4, -1)
            each = [into.sigmoid(), keep.sigmoid(), new.tanh(), out.sigmoid()]
            cell = each[1] * cell + each[0] * each[2]
            state = each[3] * cell.tanh()
        else:
            (r, z, n), (rh, zh, nh) = a.chunk(3, -1), b.chunk(3, -1)
            each = [(r + rh).sigmoid(), (z + zh).sigmoid()]
            each.append((n + each[0] * nh).tanh())
            state = (1 - each[1]) * each[2] + each[1] * state
        states.append(state)
        parts.append(each)
    return torch.stack(states), parts


def _back(kind: str, x: Any, layers: Sequence[tuple[str, list[Any]]]) -> Iterator[tuple[str, float]]:
    """The squared norm of the gradient at the output of each layer, where the last one is given N(0, 1)."""
    outputs: list[Any] = []
    with torch.enable_grad():
        for _, weights in layers:
            matrices = _matrices(kind, x, weights)
            if matrices is None:
                return
            x = _run(kind, x if outputs else x.clone().requires_grad_(), *matrices, weights[2:4], None)[0]
            outputs.append(x)
        drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
        gradients = torch.autograd.grad(x, outputs, drawn)
    for (suffix, _), gradient in zip(layers, gradients, strict=True):
        yield f"back{suffix}", float(gradient.double().square().sum())


def _means(kind: str, parts: Sequence[Sequence[Any]]) -> Iterator[tuple[str, float]]:
    """The mean of each gate over all steps, and the share of entries that is saturated on both sides."""
    shares = []
    for name, every in zip(GATES[kind], zip(*parts, strict=True), strict=True):
        is_candidate = name in _CANDIDATES
        shares.append(_saturated(torch.stack(every), "tanh" if is_candidate else "sigmoid"))
        if not is_candidate:
            yield name, sum(float(step.double().mean()) for step in every) / len(every)
    yield "saturated", sum(shares) / len(shares)


def _saturated(values: Any, act: str) -> float:
    """Twice the share of the entries on that side of the saturated band that has fewer of them."""
    band = ACTIVATIONS[act].saturation
    assert band is not None
    sides = (values <= band.low).double().mean(), (values >= band.high).double().mean()
    return 2 * float(min(sides))
