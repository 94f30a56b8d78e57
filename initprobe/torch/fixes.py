"""A fix is a claim. It is applied in place, the model is probed again, and the fix is undone bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from initprobe.results.summary import Finding
from initprobe.torch.inventory import inventory
from initprobe.torch.restore import left_as_found, mapped
from initprobe.torch.verdict.judge import finding
from initprobe.torch.verdict.norms import FRESH
from initprobe.torch.verdict.observations import TO_BFLOAT16, Fix, Observation

MOST_TRIALS = 3
Probe = Callable[[Any], Sequence[Observation]]
_STAYED = "tried, and the finding stayed"


@dataclass
class FixesOfModel:
    """Tries fixes one after the other, at most `MOST_TRIALS` of them.

    Attributes:
        model: the model.
        x: its input.
        probe: given an input, what the rules observe in the model at that moment.
        left: trials that are left.
        outcomes: by line that was tried, what the rules observed afterwards, or the error of the line.
    """

    model: Any
    x: Any
    probe: Probe
    left: int = MOST_TRIALS
    outcomes: dict[str, list[Observation] | str] = field(default_factory=dict)

    def findings(self, observations: Sequence[Observation]) -> list[Finding]:
        """Every observation with the line that fixes it, or the reason why there is none."""
        return [self._finding(observation, observations) for observation in observations]

    def _finding(self, observation: Observation, before: Sequence[Observation]) -> Finding:
        if observation.severity == "info" and observation.rule != FRESH:
            return finding(observation, None, None)
        if not observation.fixes:
            return finding(observation, None, observation.no_fix or "no line is known that fixes this")
        reasons = []
        for fix in observation.fixes:
            working, reason = self._tried(observation, fix, before)
            if working is not None:
                return finding(observation, working.line, None)
            reasons.append(reason)
        return finding(observation, None, observation.no_fix or reasons[0])

    def _tried(self, observation: Observation, fix: Fix, before: Sequence[Observation]) -> tuple[Fix | None, str]:
        """The fix that works: this one, or this one with another; else the reason why it does not."""
        after = self._outcome(fix)
        if after is None:
            return None, f"not tried, after {MOST_TRIALS} trials of others"
        if isinstance(after, str):
            return None, after
        reason = _why_not(observation, before, after)
        if reason is None:
            return fix, ""
        return self._with_next(observation, fix, before, after), reason

    def _with_next(
        self, observation: Observation, fix: Fix, before: Sequence[Observation], after: Sequence[Observation]
    ) -> Fix | None:
        """The line with the line for what is left, if both together work. Large numbers and zeros hide what follows."""
        left = [other for other in after if other.severity != "info"]
        staying = [other for other in left if _key(other) == _key(observation)]
        following = next((other.fixes[0] for other in staying or left if other.fixes), None)
        if following is None or fix.standardize or following.standardize:
            return None
        if staying and set(following.touches) & set(fix.touches):  # the same weights again
            return None
        both = Fix(f"{fix.line}\n{following.line}", (*fix.touches, *following.touches))
        outcome = self._outcome(both)
        is_healed = isinstance(outcome, list) and _why_not(observation, before, outcome) is None
        return both if is_healed else None

    def _outcome(self, fix: Fix) -> list[Observation] | str | None:
        """What the rules observe after a line, or its error; None where no trial is left."""
        if fix.line not in self.outcomes:
            if not self.left:
                return None
            self.left -= 1
            self.outcomes[fix.line] = self._apply(fix)
        return self.outcomes[fix.line]

    def _apply(self, fix: Fix) -> list[Observation] | str:
        """Run a line and probe. The model is restored, also after an exception."""
        with left_as_found(inventory(self.model), parameters=False), _undone(self.model, fix):
            try:
                names = {"model": self.model, "nn": torch.nn, "torch": torch, "x": self.x}
                with torch.inference_mode(False), torch.no_grad():
                    if fix.standardize is None:
                        exec(fix.line, names)  # a line of ours, with names of the model's own modules in it
                return list(self.probe(_input_after(self.x, fix)))
            except Exception as error:
                text = next(iter(str(error).splitlines()), "")
                return f"tried, and failed: {type(error).__name__}: {text}"


def _input_after(x: Any, fix: Fix) -> Any:
    """The input that a fix asks for."""
    if fix.standardize is not None:
        return standardized(x, *fix.standardize)
    if fix.line == TO_BFLOAT16:
        return mapped(lambda tensor: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor, x)
    return x


def standardized(x: Any, mean: float, std: float) -> Any:
    """The same nested input, less `mean` and divided by `std` in every floating-point tensor.

    Args:
        x: nested tensors.
        mean, std: of all entries.
    """
    return mapped(lambda tensor: (tensor - mean) / std if tensor.is_floating_point() else tensor, x)


def _key(observation: Observation) -> tuple[str, str | None]:
    """What makes two observations the same. A trend may begin elsewhere; of dead layers each is for itself."""
    is_per_layer = observation.rule in ("dead-layer", "dead-units")
    return observation.rule, observation.module if is_per_layer else None


def _why_not(observation: Observation, before: Sequence[Observation], after: Sequence[Observation]) -> str | None:
    """Why a line does not work; None where the finding is gone and none above info is new."""
    if any(_key(other) == _key(observation) and other.severity != "info" for other in after):
        return _STAYED
    if observation.rule == FRESH and any(other.rule == FRESH for other in after):
        return _STAYED
    old = {_key(other) for other in before if other.severity != "info"}
    new = [other for other in after if other.severity != "info" and _key(other) not in old]
    return f"tried, and led to another finding: {new[0].rule.replace('-', ' ')}" if new else None


@contextmanager
def _undone(model: Any, fix: Fix) -> Iterator[None]:
    """Put back what a line may change: the entries of its parameters, children of modules, `eps` and dtypes."""
    touched = {name: parameter for name, parameter in model.named_parameters() if _is_touched(name, fix)}
    entries = {name: parameter.detach().clone() for name, parameter in touched.items()}
    children = [(module, dict(module._modules)) for module in model.modules()]
    eps = [(module, module.eps) for module in model.modules() if isinstance(getattr(module, "eps", None), float)]
    dtypes = _data(model) if "model.to(" in fix.line else {}
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


def _is_touched(name: str, fix: Fix) -> bool:
    return any(name == touched or (touched.endswith(".") and name.startswith(touched)) for touched in fix.touches)


def _data(model: Any) -> dict[Any, Any]:
    """The data of every tensor, which another dtype replaces."""
    return {tensor: tensor.data for tensor in (*model.parameters(), *model.buffers())}
