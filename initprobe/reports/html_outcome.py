"""Verdict and level of a run, for the pages of many runs and of two sides."""

from __future__ import annotations

from initprobe.reports.people_names import people_verdict
from initprobe.results.digest import Digest


class Outcome:
    """A run with its verdict.

    Attributes:
        state: `done`, or why there is no result.
        digest: its numbers; None where there is no result.
    """

    state: str
    digest: Digest | None

    @property
    def verdict(self) -> str:
        """The rule of its worst finding in words, `survives`, or its state where there is no result."""
        return people_verdict(self.digest.verdict) if self.digest else self.state

    @property
    def verdict_words(self) -> str:
        """The verdict with the layer where it begins."""
        layer = self.digest.layer if self.digest else None
        return f"{self.verdict} from layer {layer}" if layer else self.verdict

    @property
    def level(self) -> str:
        """`healthy`, the severity of its worst finding, or `failed` where there is no result."""
        if self.digest is None:
            return "failed"
        return "healthy" if self.digest.healthy else str(self.digest.severity)
