"""Theory along a trace: forward from the input of a model or of a layer, and back from its output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from initprobe.torch.measure import Track
from initprobe.torch.theory.levels import mixed_levels
from initprobe.torch.theory.moments import Moments, NoRule, independent, matched
from initprobe.torch.theory.rule import Lookup, Moved
from initprobe.torch.theory.rules import rule_of
from initprobe.torch.theory.trace import Node, Trace

_OF_UNITS = ("batch_norm", "instance_norm")  # norms of each unit by itself
_FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)  # of an unusual call


def _attempt(node: Node, work: Callable[[], Moments]) -> Moments:
    """What a rule gives; NoRule where the call has arguments that it does not know."""
    try:
        made = work()
    except _FAULTS as fault:
        raise NoRule(f"{node.name} with arguments that its rule does not know") from fault
    if made.shape != node.shape or not math.isfinite(made.square) or made.square < 0:
        raise NoRule(f"{node.name}: its rule gives no finite number")
    return made


def measured(track: Track | None) -> tuple[float, float] | None:
    """Mean and mean square of a tensor; None where they are not known."""
    if track is None or not track.draws:
        return None
    square = track.square
    return (track.mean, square) if math.isfinite(square) else None


class Forward:
    """Moments of every node from the input of the model.

    Attributes:
        restarts: by number of a node, why theory starts again there from what was measured.
    """

    def __init__(self, trace: Trace) -> None:
        self.restarts: dict[int, str] = {}
        self._origins: dict[int, str] = {}
        self._moments: dict[int, Moments] = {}
        self._reasons: dict[int, str] = {}
        self._local: dict[int, Moments] = {}
        with np.errstate(all="ignore"):
            for node in trace.nodes:
                self._follow(node)

    def _follow(self, node: Node) -> None:
        origin = next((self._origins[s.number] for s in node.sources if s.number in self._origins), None)
        if origin is not None:
            self._origins[node.number] = origin
        try:
            self._moments[node.number] = self._given(node) or _attempt(
                node, lambda: rule_of(node.name).forward(node, self.of)
            )
        except NoRule as reason:
            self._restart(node, str(reason))

    def _given(self, node: Node) -> Moments | None:
        if node.name != "input":
            return None
        if node.given is None:
            raise NoRule("an input without floating-point numbers")
        made, entries = replace(node.given, shape=node.shape), measured(node.track)
        return made.fitted(*entries) if entries is not None else made

    def _restart(self, node: Node, reason: str) -> None:
        self._reasons[node.number] = reason
        entries = measured(node.track)
        if entries is None:
            return
        self.restarts[node.number] = self._origins[node.number] = reason
        like = next((self._moments[s.number] for s in node.sources if s.number in self._moments), None)
        made = like if like is not None and like.shape == node.shape else independent(node.shape, *entries)
        self._moments[node.number] = made.fitted(*entries)

    def of(self, node: Node) -> Moments:
        """The moments of a node.

        Raises:
            NoRule: there are none.
        """
        moments = self._moments.get(node.number)
        if moments is None:
            raise NoRule(self._reasons.get(node.number, "no moments"))
        return moments

    def origin(self, node: Node) -> str | None:
        """The reason of the restart that the moments of a node come from."""
        return self._origins.get(node.number)

    def local(self, node: Node) -> Moments:
        """The moments with the measured mean and mean square; of a tensor that was not measured, from its sources."""
        kept = self._local.get(node.number)
        if kept is None:
            kept = self._local[node.number] = self._fitted(node)
        return kept

    def _fitted(self, node: Node) -> Moments:
        entries = measured(node.track)
        if entries is None:
            if node.name == "input":
                return self.of(node)
            return _attempt(node, lambda: rule_of(node.name).forward(node, self.local))
        known = self._moments.get(node.number)
        return independent(node.shape, *entries) if known is None else known.fitted(*entries)

    def within(self, start: Node) -> Lookup:
        """A function that gives the moments of a node from the measured input of an operation.

        Args:
            start: of the graph of operations.
        """
        return _Within(self, start).of


class _Within:
    """Moments of the nodes of one layer, from its measured input."""

    def __init__(self, forward: Forward, start: Node) -> None:
        self._forward, self._start = forward, start
        self._made: dict[int, Moments] = {}

    def of(self, node: Node) -> Moments:
        if node.number < self._start.number:
            return self._forward.local(node)
        if node.number not in self._made:
            self._made[node.number] = _attempt(node, lambda: rule_of(node.name).forward(node, self.of))
        return self._made[node.number]


class Backward:
    """Gradients of every node from the gradient of the loss at the output of the model.

    Attributes:
        restarts: by number of a node, why theory starts again there from the measured gradient.
    """

    def __init__(self, trace: Trace, forward: Forward, makers: dict[int, Node]) -> None:
        self.restarts: dict[int, str] = {}
        self._forward, self._makers = forward, makers
        self._total: dict[int, Moments] = {}
        self._reasons: dict[int, str] = {}
        self._consumers: dict[int, list[Node]] = {}
        self._results = {node.number for node in trace.results}
        self._local: dict[int, Moments | None] = {}
        for node in trace.nodes:
            for source in {source.number: source for source in node.sources}.values():
                self._consumers.setdefault(source.number, []).append(node)
        is_back = any(node.track is not None and node.track.gradient is not None for node in trace.nodes)
        # Outputs of the model whose gradient was measured: it is that of all their uses.
        own = [node for node in trace.results if makers.get(id(node.track)) is node]
        self._started = {node.number for node in own if is_back}
        for node in trace.results:
            start = self._start(node)
            if start is not None:
                self._total[node.number] = start
        with np.errstate(all="ignore"):
            for node in reversed(trace.nodes):
                self._follow(node)

    def _measured(self, node: Node) -> Moments | None:
        """The measured gradient of a node; its correlations are those of theory."""
        track = node.track
        if track is None or self._makers.get(id(track)) is not node:
            return None
        entries = measured(track.gradient)
        if entries is None:
            return None
        known = self._total.get(node.number)
        made = _uncorrelated(node.shape, *entries) if known is None else known.fitted(*entries)
        is_normed = any(each.name in _OF_UNITS for each in self._consumers.get(node.number, ()))
        return replace(made, against=True) if is_normed else made

    def _start(self, node: Node) -> Moments | None:
        """The gradient at an output of the model; None at one that the loss does not depend on."""
        if node.number in self._started:
            return self._measured(node)
        return independent(node.shape, 0.0, 1.0)

    def _follow(self, node: Node) -> None:
        if node.number in self._reasons:
            start = self._measured(node)
            if start is not None:
                self.restarts[node.number] = self._reasons[node.number]
                self._total[node.number] = start
            else:
                self._pass_on(node.sources, self._reasons[node.number])
                return
        total = self._total.get(node.number)
        if total is None or node.name in ("input", "embedding"):
            return
        try:
            moved = self._back(node, total, self._forward.of)
        except NoRule as reason:
            self._pass_on(node.sources, str(reason))
            return
        for source, gradient in moved:
            if source.number not in self._started:
                self._total[source.number] = _with(self._total.get(source.number), gradient)

    def _pass_on(self, sources: Iterable[Node], reason: str) -> None:
        for source in sources:
            self._reasons.setdefault(source.number, reason)

    def _back(self, node: Node, total: Moments, of: Lookup) -> list[tuple[Node, Moments]]:
        moved: list[tuple[Node, Moments]] = []

        def work() -> Moments:
            made: Moved = rule_of(node.name).backward(node, of, total)
            moved.extend(pair for pair in made if isinstance(pair[0], Node))
            return total

        _attempt(node, work)
        for source, gradient in moved:
            _attempt(source, lambda gradient=gradient: gradient)  # type: ignore[misc]
        return moved

    def of(self, node: Node) -> Moments:
        """The gradient of a node, from the output of the model.

        Raises:
            NoRule: there is none.
        """
        if node.number in self.restarts or node.number not in self._total:
            raise NoRule(self._reasons.get(node.number, "the output does not depend on it"))
        return self._total[node.number]

    def local(self, node: Node) -> Moments:
        """The gradient of a node from the measured gradients of what was made of it.

        Args:
            node: of the graph of operations.

        Raises:
            NoRule: no gradient was measured behind the node.
        """
        total = None
        if node.number in self._results:
            total = self._start(node)
            if node.number in self._started and total is not None:
                return total
        for consumer in self._goals(node):
            given = self._given(consumer)
            if given is not None:
                for source, gradient in self._back(consumer, given, self._forward.local):
                    if source is node:
                        total = _with(total, gradient)
            elif consumer.number in self._reasons:
                raise NoRule(self._reasons[consumer.number])
        if total is None:
            raise NoRule("no gradient was measured behind it")
        return total

    def _given(self, node: Node) -> Moments | None:
        """The measured gradient of a node, or what its own consumers give it; None for one without gradient."""
        if node.number not in self._local:
            made = self._measured(node)
            if made is None and node.number in self._total:
                made = self.local(node)
            self._local[node.number] = made
        return self._local[node.number]

    def _goals(self, node: Node) -> list[Node]:
        """What takes a node; of operations that make one function of it entry by entry, the last."""
        goals: dict[int, Node] = {}
        waiting = [(consumer, consumer) for consumer in self._consumers.get(node.number, ())]
        visited: set[int] = set()
        while waiting:
            consumer, direct = waiting.pop()
            if consumer.number in visited:
                continue
            visited.add(consumer.number)
            after = self._consumers.get(consumer.number, [])
            if after and self._is_of(consumer, node) and all(self._is_of(each, node) for each in after):
                waiting += [(each, direct) for each in after]
            else:  # the gradient of a product with a constant goes to its source, and not to the node
                goal = consumer if len(consumer.sources) > 1 or consumer.kind == "activation" else direct
                goals[goal.number] = goal
        return list(goals.values())

    def _is_of(self, node: Node, base: Node) -> bool:
        try:
            bent = self._forward.of(node).bent
        except NoRule:
            return False
        return bent is not None and bent.base == base.number


def _uncorrelated(shape: Sequence[int], mean: float, square: float) -> Moments:
    """Measured entries without known correlations. Their variance is as measured."""
    count = math.prod(shape)
    pairs = independent(shape, mean, square).pairs
    pairs[...] = (count * mean**2 - square) / max(count - 1, 1)
    pairs.flat[0] = square
    return Moments(tuple(shape), mean, pairs)


def _with(total: Moments | None, gradient: Moments) -> Moments:
    """The sum of two gradients, which are independent."""
    if total is None:
        return gradient
    shape, (total_pairs, gradient_pairs) = matched([total, gradient])
    square = total.square + gradient.square
    # Both came back from the same output, so they have most of their noise in common.
    spread = math.sqrt(total.noise) * total.square + math.sqrt(gradient.noise) * gradient.square
    noise = (spread / max(square, 1e-300)) ** 2
    gain = (total.gain * total.square + gradient.gain * gradient.square) / max(square, 1e-300)
    levels = mixed_levels([total, gradient])
    return Moments(shape, 0.0, total_pairs + gradient_pairs, noise, gain=gain, levels=levels)
