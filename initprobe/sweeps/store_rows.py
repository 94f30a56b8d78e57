"""A row of a store as a Python object. Each value is checked, so that a damaged row does not affect the others."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from initprobe.errors import DamagedRun, InputError
from initprobe.results.digest import Digest
from initprobe.results.run import ProbeResult
from initprobe.sweeps.runs import Scalar
from initprobe.sweeps.store_packing import unpack

State = Literal["queued", "running", "done", "failed", "damaged"]
STATES = ("queued", "running", "done", "failed")
# The columns that a `Row` is made of; the last one says whether there is a result.
COLUMNS = "key, axes, config, state, error, elapsed_s, digest, key IN (SELECT key FROM results)"
# Larger than any result. A few compressed bytes can stand for more than memory holds.
MAX_RESULT_BYTES = 1 << 30

_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_AXES = TypeAdapter(
    dict[str, str | bool | _Whole | float], config=ConfigDict(strict=True, allow_inf_nan=False, str_max_length=10_000)
)
_CONFIG = TypeAdapter(dict[str, JsonValue], config=ConfigDict(allow_inf_nan=False))
_KEY = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Row:
    """A run in a store, without its full result.

    Attributes:
        key: hash of the configuration.
        axes: the values that differ within its sweep, by dotted name.
        config: the configuration, as JSON.
        state: of the run; `damaged` where the row's values are not valid.
        error: one line for a failed run; for a damaged run, what is not valid.
        elapsed_s: seconds that the run took; None where it is not done.
        digest: of the result; None where the run is not done.
    """

    key: str
    axes: Mapping[str, Scalar]
    config: str
    state: State
    error: str | None
    elapsed_s: float | None
    digest: Digest | None


def read_row(number: int, values: Sequence[Any]) -> Row:
    """A row from the values of `COLUMNS`.

    Args:
        number: of the row in the table; it stands for a key that is not valid.
        values: as SQLite returns them.
    """
    key, axes, config, state, error, elapsed_s, digest, has_result = values
    name = key if isinstance(key, str) and _KEY.fullmatch(key) else f"row {number}"
    axis_values: dict[str, Scalar] = {}
    try:
        axis_values = _AXES.validate_json(_text("axes", axes))
        _require(name == key, "its key is no key")
        _require("act" in _CONFIG.validate_json(_text("config", config)), "its config is no experiment")
        _require(state in STATES, f"its state is {_short(state)}")
        _require(error is None or isinstance(error, str), "its error is no text")
        summary = _summary(elapsed_s, digest, has_result) if state == "done" else None
    except ValidationError as fault:
        return Row(name, axis_values, "{}", "damaged", _reason(fault), None, None)
    except _Fault as fault:
        return Row(name, axis_values, "{}", "damaged", str(fault), None, None)
    return Row(name, axis_values, config, state, error, elapsed_s if summary else None, summary)


class _Fault(Exception):
    """A value of a row that is not valid; the message says which and why."""


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise _Fault(complaint)


def _text(column: str, value: object) -> str:
    if not isinstance(value, str):
        raise _Fault(f"its {column} is {_short(value)}, not text")
    return value


def _short(value: object) -> str:
    if value is None:
        return "missing"
    return "binary" if isinstance(value, bytes) else repr(value)[:40]


def _summary(elapsed_s: object, digest: object, has_result: object) -> Digest:
    _require(bool(has_result), "its result is missing")
    _require(isinstance(elapsed_s, int | float) and math.isfinite(elapsed_s), "its elapsed_s is no number")
    summary = Digest.model_validate_json(_text("digest", digest))
    logs = (summary.output, summary.output_theory, summary.gradient, summary.gradient_theory)
    _require(len({len(log) for log in logs}) == 1 and bool(logs[0]), "its digest has not a number for every layer")
    return summary


def _reason(fault: ValidationError) -> str:
    """pydantic's first complaint, and the column that it is about."""
    column = {"Digest": "digest", _CONFIG.validator.title: "config"}.get(fault.title, "axes")
    return f"its {column} cannot be read: {fault.errors(include_url=False)[0]['msg'][:100]}"


def damage(store: object, key: str, reason: str) -> str:
    """The line that reports a damaged run.

    Args:
        store, key: path of the store, and key of the run or number of its row.
        reason: what cannot be read.
    """
    return f"{store}: store damaged at {key if key.startswith('row ') else f'run {key}'}: {reason}"


def unpacked(packed: object, store: object, key: str) -> ProbeResult:
    """A result from its packed form.

    Args:
        packed: as the store returns it.
        store: name of the store, for errors.
        key: of the run.

    Raises:
        DamagedRun: it is no valid result.
    """
    if not isinstance(packed, bytes):
        raise DamagedRun(damage(store, key, f"its result is {_short(packed)}"))
    try:
        text = unpack(packed, MAX_RESULT_BYTES)
    except zlib.error:
        raise DamagedRun(damage(store, key, "its result cannot be unpacked")) from None
    try:
        return ProbeResult.from_json(text, f"{store}, run {key}")
    except InputError as error:
        raise DamagedRun(damage(store, key, f"its result cannot be read: {error.text}")) from None
