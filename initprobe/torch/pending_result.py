"""A result whose layers and modules are worked out when they are first read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from initprobe.results.pending import Pending, lock, pending
from initprobe.results.run import ProbeResult
from initprobe.torch.layer_stats import LayerRecords


class _PendingResult(Pending, ProbeResult):
    """A `ProbeResult` without `layers` and `modules`. The table reads the layers only."""

    def __getattr__(self, name: str) -> Any:
        if name == "layers":
            return _with_layers(self)
        return super().__getattr__(name)


def pending_result(records: LayerRecords, **fields: Any) -> ProbeResult:
    """A result with these fields, whose layers and modules `records` makes when they are first read.

    Args:
        records: of the layers.
        fields: of the result.
    """
    held = dict(ProbeResult.model_construct(**fields))
    held.pop("modules")  # the default
    return pending(_PendingResult, _Records(records), held)


class _Records:
    """Makes the layers once, and the modules."""

    def __init__(self, records: LayerRecords) -> None:
        self._records = records
        self._layers: Any = None

    def __call__(self) -> Mapping[str, Any]:
        """Both."""
        layers = self.layers()
        return {"layers": layers, "modules": self._records.modules()}

    def layers(self) -> Any:
        """The layers."""
        if self._layers is None:
            self._layers = self._records.layers()
        return self._layers


def _with_layers(result: Any) -> Any:
    """The layers of a result, which stays without modules."""
    with lock:
        private = result.__pydantic_private__
        return result.layers if private is None else private["work"].layers()
