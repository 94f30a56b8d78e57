"""A row of a store as Python sees it. What a row says is checked, so that a damaged one costs itself and no other."""

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
from initprobe.sweeps.store.packing import unpack

State = Literal["queued", "running", "done", "failed", "damaged"]
STATES = ("queued", "running", "done", "failed")
# The columns that a row is made of; the last says whether there is a result.
COLUMNS = "key, axes, config, state, error, elapsed_s, digest, key IN (SELECT key FROM results)"
# More than any result takes; a few bytes of zlib's can stand for more than there is memory.
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
        axes: what sets it apart in its sweep.
        config: the configuration as JSON text.
        state: of the run; `damaged` where the row does not say what it should.
        error: one line, of a failed run; of a damaged one, what is wrong.
        elapsed_s: seconds that it took.
        digest: of the result of a done run.
    """

    key: str
    axes: Mapping[str, Scalar]
    config: str
    state: State
    error: str | None
    elapsed_s: float | None
    digest: Digest | None


def read_row(number: int, values: Sequence[Any]) -> Row:
    """A row from what SQLite holds in `COLUMNS`; `number` stands for a key that cannot be read."""
    key, axes, config, state, error, elapsed_s, found, has_result = values
    name = key if isinstance(key, str) and _KEY.fullmatch(key) else f"row {number}"
    read: dict[str, Scalar] = {}
    try:
        read = _AXES.validate_json(_text("axes", axes))
        _require(name == key, "its key is no key")
        _require("act" in _CONFIG.validate_json(_text("config", config)), "its config is no experiment")
        _require(state in STATES, f"its state is {_short(state)}")
        _require(error is None or isinstance(error, str), "its error is no text")
        summary = _summary(elapsed_s, found, has_result) if state == "done" else None
    except ValidationError as fault:
        return Row(name, read, "{}", "damaged", _reason(fault), None, None)
    except _Fault as fault:
        return Row(name, read, "{}", "damaged", str(fault), None, None)
    return Row(name, read, config, state, error, elapsed_s if summary else None, summary)


class _Fault(Exception):
    """What is wrong with a row, in words."""


def _require(holds: bool, words: str) -> None:
    if not holds:
        raise _Fault(words)


def _text(column: str, value: object) -> str:
    if not isinstance(value, str):
        raise _Fault(f"its {column} is {_short(value)}, not text")
    return value


def _short(value: object) -> str:
    if value is None:
        return "missing"
    return "binary" if isinstance(value, bytes) else repr(value)[:40]


def _summary(elapsed_s: object, found: object, has_result: object) -> Digest:
    _require(bool(has_result), "its result is missing")
    _require(isinstance(elapsed_s, int | float) and math.isfinite(elapsed_s), "its elapsed_s is no number")
    summary = Digest.model_validate_json(_text("digest", found))
    logs = (summary.output, summary.output_theory, summary.gradient, summary.gradient_theory)
    _require(len({len(log) for log in logs}) == 1 and bool(logs[0]), "its digest has not a number for every layer")
    return summary


def _reason(fault: ValidationError) -> str:
    """pydantic's first complaint, and which column it is of."""
    about = {"Digest": "digest", _CONFIG.validator.title: "config"}.get(fault.title, "axes")
    return f"its {about} cannot be read: {fault.errors(include_url=False)[0]['msg'][:100]}"


def damage(store: object, key: str, reason: str) -> str:
    """The line that says it."""
    return f"{store}: store damaged at {key if key.startswith('row ') else f'run {key}'}: {reason}"


def unpacked(packed: object, store: object, key: str) -> ProbeResult:
    """A result from what the store holds of it.

    Raises:
        DamagedRun: it is no result.
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
        raise DamagedRun(damage(store, key, f"its result cannot be read: {str(error).rpartition(': ')[2]}")) from None
