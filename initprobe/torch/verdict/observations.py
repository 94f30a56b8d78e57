"""What a rule for models says: an observation of a recorded model, with lines that may fix it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from initprobe.results.base import Severity
from initprobe.results.summary import Place

MEANING = ""  # as a cause: what the text of the rule says
TO_BFLOAT16 = "model.to(torch.bfloat16)"


@dataclass(frozen=True)
class Fix:
    """A line of PyTorch that may make a model healthy.

    Attributes:
        line: Python code. It may use the names `model`, `nn`, `torch` and `x`.
        touches: names of the parameters that it writes to. A name that ends with a dot means all parameters below it.
        standardize: mean and standard deviation of the input, for a line that changes the input.
    """

    line: str
    touches: tuple[str, ...] = ()
    standardize: tuple[float, float] | None = None


@dataclass(frozen=True)
class Observation:
    """What a rule observed in a model.

    Attributes:
        rule: id of the rule.
        severity: info, warning or error.
        layer: number of the layer where it begins.
        evidence: the numbers in words.
        cause: why, in a sentence; `MEANING` for that of the rule's text.
        module: qualified name of the module at fault.
        fixes: lines that may remove the finding, the likeliest first.
        no_fix: why there is no fix, where that is known.
        hides: ids of rules whose observations are a consequence of this one.
        alone: it is about the scale of one layer. It is dropped if the layer is odd among its siblings.
        elsewhere: further places of the same rule, with the numbers there.
        is_last_resort: it counts only where no other observation is above info.
    """

    rule: str
    severity: Severity
    layer: int
    evidence: str
    cause: str
    module: str | None
    fixes: tuple[Fix, ...] = ()
    no_fix: str = ""
    hides: tuple[str, ...] = ()
    alone: bool = False
    elsewhere: tuple[Place, ...] = ()
    is_last_resort: bool = False


def gathered(observations: Iterable[Observation]) -> Iterator[Observation]:
    """The first observation, which also names the places of all others; nothing if there are none."""
    every = list(observations)
    places = (Place(layer=other.layer, module=other.module, evidence=other.evidence) for other in every[1:])
    if every:
        yield replace(every[0], elsewhere=tuple(places))
