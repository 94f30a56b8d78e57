"""Which layer feeds which: along signals that one operation takes, and past parallel paths that meet again.

Parallel paths meet in a `cat`, as in Inception and SqueezeNet, or in a product. A product joins a gated pair of layers,
or a signal and factors made of it (squeeze-and-excitation). A chain takes the longest path; the layers of the others
are parallel to it. It also passes a product with a signal that no layer made, such as the adjacency matrix of a graph.

A softmax that a layer alone takes is passed too: it stands where an activation would.

Sums are no part of a chain: they belong to residual streams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from initprobe.torch.graph import Operation, Signal

_LAYERS = ("layer", "recurrence")
_PASSED = ("norm", "part", "other", "unseen")
_MEETING = ("cat", "gate")
_SIGMOIDS = ("sigmoid", "hardsigmoid", "tanh")
_RECURRENCES = ("lstm", "gru", "rnn_tanh", "rnn_relu")


@dataclass(frozen=True)
class _Path:
    """A way from a fork to a join.

    Attributes:
        fork: the signal that it starts from.
        end: the last signal before the join; the fork itself, if the path is empty.
        signals: from the end back, without the fork.
    """

    fork: Signal
    end: Signal
    signals: Sequence[Signal]

    @property
    def layers(self) -> list[Signal]:
        """The signals that layers make, from the end back."""
        return [signal for signal in self.signals if signal.op.kind in _LAYERS]

    @property
    def is_factor(self) -> bool:
        """Whether it ends with a function that gates have."""
        act = self.end.activation
        return act is not None and act.name in _SIGMOIDS


class Feeding:
    """Finds the layer that feeds an operation.

    Args:
        operations: every operation, in order.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._made_by_layers = _descendants(operations)
        self._main: dict[int, Signal] = {}  # by id of a join, the end of the path that a chain takes
        self._first: dict[int, Operation] = {}  # by id of a fork, the first operation of that path
        self._parallel: dict[int, list[Signal]] = {}
        leading = _ancestors(operations)
        for op in operations:
            if op.kind in _MEETING and op.signal is not None and id(op.signal) in leading:
                self._find_paths(op, op.signal)

    def feeder(self, op: Operation) -> tuple[Signal | None, bool]:
        """What feeds an operation.

        Args:
            op: the operation.

        Returns:
            The signal of the layer that alone feeds it, or None; and whether a norm lies between.
        """
        reset = False
        for signal in self._back(op):
            if signal.op.kind in _LAYERS:
                return signal, reset
            reset |= signal.op.kind == "norm"
        return None, reset

    def parallel(self, signal: Signal) -> Sequence[Signal]:
        """The signals of layers on paths that are parallel to the one that ends with this layer."""
        return self._parallel.get(id(signal), ())

    def _back(self, op: Operation) -> Iterator[Signal]:
        """Signals back from an operation to the first layer."""
        source = self._source(op)
        while source is not None and self._is_alone(op, source):
            yield source
            op = source.op
            source = self._source(op) if op.kind in (*_PASSED, *_MEETING, "product", "softmax") else None

    def _source(self, op: Operation) -> Signal | None:
        """The one signal that an operation is made of; of a join, the end of its main path."""
        if op.signal is not None and id(op.signal) in self._main:
            return self._main[id(op.signal)]
        inputs = op.inputs
        if len(inputs) > 1 and op.kind in ("product", "gate"):
            inputs = [signal for signal in inputs if id(signal) in self._made_by_layers]
        return inputs[0] if len(inputs) == 1 else None

    def _is_alone(self, taker: Operation, signal: Signal) -> bool:
        """Whether nothing else takes the signal, except parallel paths that meet again."""
        if id(signal) in self._first:
            return self._first[id(signal)] is taker
        return len(_takers(signal)) == 1

    def _find_paths(self, op: Operation, join: Signal) -> None:
        """Note the paths that meet in an operation, if all come from one fork that nothing else takes."""
        ends = [signal for signal in op.inputs if op.kind == "cat" or id(signal) in self._made_by_layers]
        paths = [self._path(op, end) for end in ends]
        if len(paths) < 2 or len({id(path.fork) for path in paths}) > 1:
            return
        if len(_takers(paths[0].fork)) != len(paths):
            return
        empty = [path for path in paths if not path.layers]
        if empty and op.kind == "cat":
            return  # what is given is handed on, as in DenseNet
        main = min(empty or paths, key=lambda path: (op.kind == "gate" and path.is_factor, -len(path.layers)))
        self._main[id(join)] = main.end
        self._first[id(main.fork)] = main.signals[-1].op if main.signals else op
        if main.layers:
            others = [signal for path in paths if path is not main for signal in path.layers]
            self._parallel.setdefault(id(main.layers[0]), []).extend(others)

    def _path(self, op: Operation, end: Signal) -> _Path:
        """Back from an input of a join to the first signal that several operations take."""
        signals: list[Signal] = []
        signal = end
        while self._is_alone(op, signal) and signal.op.kind in (*_LAYERS, *_PASSED, *_MEETING, "product"):
            source = self._source(signal.op)
            if source is None:
                break
            signals.append(signal)
            signal, op = source, signal.op
        return _Path(signal, end, signals)


def _takers(signal: Signal) -> list[Operation]:
    """The operations that take a signal, without states of recurrences that nothing takes."""
    return [op for op in signal.consumers if not _is_unused_state(op)]


def _is_unused_state(op: Operation) -> bool:
    is_state = op.kind == "other" and op.name in _RECURRENCES
    return is_state and op.signal is not None and not op.signal.consumers


def _descendants(operations: Sequence[Operation]) -> set[int]:
    """Ids of the signals that a layer made, or that are made of such."""
    made: set[int] = set()
    for op in operations:
        if op.signal is not None and (op.kind in _LAYERS or any(id(signal) in made for signal in op.inputs)):
            made.add(id(op.signal))
    return made


def _ancestors(operations: Sequence[Operation]) -> set[int]:
    """Ids of the signals from which a layer is made."""
    leading: set[int] = set()
    for op in reversed(operations):
        if op.kind in _LAYERS or (op.signal is not None and id(op.signal) in leading):
            leading |= {id(signal) for signal in op.inputs}
    return leading
