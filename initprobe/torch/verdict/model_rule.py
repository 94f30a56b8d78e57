"""What a rule for models is: its ids, its texts, and the function that looks at a recorded model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from initprobe.diagnosis.rule import RuleText
from initprobe.torch.verdict.case import Case
from initprobe.torch.verdict.observations import Observation


@dataclass(frozen=True)
class ModelRule:
    """A function that observes a recorded model, and how its observations rank among others.

    Attributes:
        observe: yields the observations.
        names: ids that these may have and that rules of `run` have too, so that their texts stand there.
        texts: the other ids, with their texts.
        causes: those ids that say that something is drawn or set wrongly. They are named before what follows from them.
        is_trend: of each id only the most severe observation counts.
        is_alone: where it observes something, no other rule is asked.
    """

    observe: Callable[[Case], Iterator[Observation]]
    names: tuple[str, ...] = ()
    texts: tuple[RuleText, ...] = ()
    causes: tuple[str, ...] = ()
    is_trend: bool = False
    is_alone: bool = False

    @property
    def every_name(self) -> tuple[str, ...]:
        """All ids that its observations may have."""
        return (*self.names, *(text.name for text in self.texts))
