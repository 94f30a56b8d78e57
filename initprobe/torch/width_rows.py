"""The rows of a coordinate check that are not products with weights, and which layer makes the output."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from initprobe.diagnosis.width_sizes import LayerSizes
from initprobe.torch.graph import Signal
from initprobe.torch.size_recorder import Size, SizeRecorder, rms
from initprobe.torch.structure import Layer, Structure


def readout(signals: Sequence[Signal], structure: Structure) -> Layer | None:
    """The layer that makes the output of the model; None where another operation makes it.

    Args:
        signals: from `output_signals`.
        structure: of the model.
    """
    return next((layer for layer in structure.layers if signals and layer.signal is signals[-1]), None)


def output_signals(recorder: SizeRecorder) -> list[Signal]:
    """The first output of the model, the signal that it is a part or a softmax of, and so on."""
    signals = recorder.results[:1]
    while signals and (signals[-1].parent is not None or signals[-1].op.kind == "softmax"):
        signals += [signals[-1].parent] if signals[-1].parent is not None else signals[-1].inputs[:1]
    return signals


def whole(changes: Sequence[Mapping[int, float]], number: int) -> tuple[float, ...]:
    """The changes of a tensor after each step; empty if its shape changes, as in routed experts.

    Args:
        changes: after each step, by the number of a tensor.
        number: of the tensor.
    """
    return tuple(each[number] for each in changes) if all(number in each for each in changes) else ()


def attention_sizes(
    recorder: SizeRecorder, later: Sequence[SizeRecorder], output: Collection[int]
) -> Iterator[LayerSizes]:
    """The logits of each softmax but one that makes the output: those are logits of classes.

    Args:
        recorder, later: of the passes before training and after each step.
        output: numbers of the signals of the output.
    """
    modules = {op.number: op.module for op in recorder.operations}
    for number, logits in ((each, logits) for each, logits in recorder.attention.items() if each not in output):
        share = recorder.attention_share[number] or 1.0
        changes = whole([each.attention_changes for each in later], number)
        name = f"{modules[number] or number}: attention"
        yield LayerSizes(name, "attention", rms(logits) / share, None, changes)


def stream_sizes(structure: Structure, later: Sequence[SizeRecorder]) -> Iterator[LayerSizes]:
    """The sums of residual streams and branches.

    Args:
        structure: of the model.
        later: the recorders of the passes after each step.
    """
    counts: dict[str, int] = {}
    for join in structure.joins:
        track = join.op.output
        assert isinstance(track, Size)
        place = join.op.module or "sum"
        counts[place] = counts.get(place, 0) + 1
        name = f"{place}: stream" + (f" {counts[place]}" if counts[place] > 1 else "")
        changes = whole([each.changes for each in later], track.number)
        yield LayerSizes(name, "stream", track.rms, track.gradient_rms, changes)
