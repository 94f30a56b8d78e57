"""A fix is a claim: it is applied in place, the model is probed again, and it is undone bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from initprobe.results.summary import Finding
from initprobe.torch.inventory import inventory
from initprobe.torch.restore import left_as_found, mapped
from initprobe.torch.verdict.case import TO_BFLOAT16, Cure, Observation
from initprobe.torch.verdict.judge import finding

MOST_TRIALS = 3
Probe = Callable[[Any], Sequence[Observation]]


@dataclass
class Trials:
    """Tries cures one after the other, at most `MOST_TRIALS` of them.

    Attributes:
        model: the model.
        x: what it is called with.
        probe: what the rules see in the model as it is then, given its input.
        left: trials that are left.
        seen: what became of lines that were tried.
    """

    model: Any
    x: Any
    probe: Probe
    left: int = MOST_TRIALS
    seen: dict[str, list[Observation] | str] = field(default_factory=dict)

    def findings(self, observed: Sequence[Observation]) -> list[Finding]:
        """Every observation with the line that heals it, or why there is none."""
        return [self._finding(one, observed) for one in observed]

    def _finding(self, one: Observation, observed: Sequence[Observation]) -> Finding:
        if one.severity == "info" and one.rule != "fresh-batch-norm":
            return finding(one, None, None)
        if not one.cures:
            return finding(one, None, one.no_fix or "no line is known that heals this")
        reasons = []
        for cure in one.cures:
            outcome = self._outcome(cure)
            if outcome is None:
                reasons.append(f"not tried, after {MOST_TRIALS} trials of others")
                continue
            if isinstance(outcome, str):
                reasons.append(outcome)
                continue
            reason = _why_not(one, observed, outcome)
            if reason is not None and (both := self._with_next(one, cure, observed, outcome)) is not None:
                cure, reason = both, None
            if reason is None:
                return finding(one, cure.line, None)
            reasons.append(reason)
        return finding(one, None, one.no_fix or reasons[0])

    def _with_next(
        self, one: Observation, cure: Cure, observed: Sequence[Observation], after: Sequence[Observation]
    ) -> Cure | None:
        """The line together with that for what it has uncovered, if both heal: zeros hide what comes after them."""
        if any(_key(other) == _key(one) and other.severity != "info" for other in after):
            return None
        more = next((other.cures[0] for other in after if other.severity != "info" and other.cures), None)
        if more is None or cure.standardize or more.standardize:
            return None
        both = Cure(f"{cure.line}\n{more.line}", (*cure.touches, *more.touches))
        outcome = self._outcome(both)
        healed = isinstance(outcome, list) and _why_not(one, observed, outcome) is None
        return both if healed else None

    def _outcome(self, cure: Cure) -> list[Observation] | str | None:
        if cure.line not in self.seen:
            if not self.left:
                return None
            self.left -= 1
            self.seen[cure.line] = self._try(cure)
        return self.seen[cure.line]

    def _try(self, cure: Cure) -> list[Observation] | str:
        """What the rules see after a line, or what Python said to it; the model is then as it was before."""
        with left_as_found(inventory(self.model), parameters=False), _undone(self.model, cure):
            try:
                reach = {"model": self.model, "nn": torch.nn, "torch": torch, "x": self.x}
                with torch.inference_mode(False), torch.no_grad():
                    if cure.standardize is None:
                        exec(cure.line, reach)  # a line of ours, with names of the model's own modules in it
                given = self.x if cure.standardize is None else standardized(self.x, *cure.standardize)
                if cure.line == TO_BFLOAT16:
                    given = mapped(lambda one: one.to(torch.bfloat16) if one.is_floating_point() else one, given)
                return list(self.probe(given))
            except Exception as error:
                text = next(iter(str(error).splitlines()), "")
                return f"tried, and failed: {type(error).__name__}: {text}"


def standardized(x: Any, mean: float, std: float) -> Any:
    """The same nest with every floating-point tensor of that mean and std made mean 0 and std 1."""
    return mapped(lambda one: (one - mean) / std if one.is_floating_point() else one, x)


def _key(one: Observation) -> tuple[str, str | None]:
    """What makes two observations the same: dead layers are each for themselves, a trend may begin elsewhere."""
    return one.rule, one.module if one.rule in ("dead-layer", "dead-units") else None


def _why_not(one: Observation, before: Sequence[Observation], after: Sequence[Observation]) -> str | None:
    """None where the finding is gone and none above info is new."""
    if any(_key(other) == _key(one) and other.severity != "info" for other in after):
        return "tried, and the finding stayed"
    if one.rule == "fresh-batch-norm" and any(other.rule == one.rule for other in after):
        return "tried, and the finding stayed"
    old = {_key(other) for other in before if other.severity != "info"}
    new = [other for other in after if other.severity != "info" and _key(other) not in old]
    return f"tried, and made the model {new[0].rule.replace('-', ' ')}" if new else None


@contextmanager
def _undone(model: Any, cure: Cure) -> Iterator[None]:
    """Put back the entries of the parameters that a line writes to, whatever happens, and children and `eps`."""
    touched = {name: one for name, one in model.named_parameters() if _is_touched(name, cure)}
    entries = {name: one.detach().clone() for name, one in touched.items()}
    children = [(module, dict(module._modules)) for module in model.modules()]
    eps = [(module, module.eps) for module in model.modules() if isinstance(getattr(module, "eps", None), float)]
    dtypes = _dtypes(model) if "model.to(" in cure.line else {}
    try:
        yield
    finally:
        for module, before in children:
            module._modules.clear()
            module._modules.update(before)
        for module, value in eps:
            module.eps = value
        with torch.inference_mode(False), torch.no_grad():
            for tensor, data in dtypes.items():
                tensor.data = data
            for name, before in entries.items():
                touched[name].copy_(before)


def _is_touched(name: str, cure: Cure) -> bool:
    return any(name == one or (one.endswith(".") and name.startswith(one)) for one in cure.touches)


def _dtypes(model: Any) -> dict[Any, Any]:
    """The data of every tensor, which another dtype replaces."""
    return {tensor: tensor.data for tensor in (*model.parameters(), *model.buffers())}
