"""A result whose layers and modules are worked out when they are first read."""

from __future__ import annotations

from typing import Any

from initprobe.results.run import ProbeResult
from initprobe.torch.layer_stats import LayerRecords

_RECORDS = ("layers", "modules")


class _PendingResult(ProbeResult):
    """A `ProbeResult` without `layers` and `modules`. Reading one of them makes it a plain, complete `ProbeResult`.

    Pydantic reads the fields of a model from its `__dict__`, to write JSON, to compare and to copy it. So this is where
    they are completed.
    """

    def __getattr__(self, name: str) -> Any:
        if name in _RECORDS:
            return getattr(_completed(self), name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        return _completed(self).__dict__

    def __eq__(self, other: object) -> bool:
        return _completed(self) == other

    def __hash__(self) -> int:
        return hash(_completed(self))

    def __repr__(self) -> str:
        return repr(_completed(self))

    def __copy__(self) -> Any:
        return _completed(self).__copy__()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Any:
        return _completed(self).__deepcopy__(memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _completed(self).__reduce_ex__(protocol)


def pending_result(records: LayerRecords, **fields: Any) -> ProbeResult:
    """A result with these fields, whose layers and modules `records` makes when they are first read.

    Args:
        records: of the layers.
        fields: of the result.
    """
    result = ProbeResult.model_construct({*fields, *_RECORDS}, **fields)
    result.__dict__.pop("modules")  # the default
    object.__setattr__(result, "__pydantic_private__", {"records": records})
    object.__setattr__(result, "__class__", _PendingResult)
    return result


def _completed(result: ProbeResult) -> ProbeResult:
    """The same object as a plain result."""
    private = result.__pydantic_private__
    object.__setattr__(result, "__class__", ProbeResult)
    if private is not None:
        records: LayerRecords = private["records"]
        result.__dict__.update(layers=records.layers(), modules=records.modules())
        object.__setattr__(result, "__pydantic_private__", None)
    return result
