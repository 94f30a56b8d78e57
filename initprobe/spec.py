"""The `name:key=value,...` grammar of the command line and of YAML, and the numbers in it."""

from __future__ import annotations

import ast
import inspect
import math
import operator
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from initprobe.errors import ConfigError, UnknownNameError
from initprobe.registry import suggestion

Value = float | bool | str
Made = TypeVar("Made")

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LONGEST_NUMBER = 100
_DEPTH = re.compile(r"((?<=[0-9.)])\s*)?L", re.ASCII)
_NUMBER_PARTS = re.compile(r"(?:[0-9.eE]|sqrt|pi|[-+*/() ])+", re.ASCII)


class Spec(NamedTuple):
    """A name and its parameters: `he:mode=fan_out` is `Spec("he", {"mode": "fan_out"})`."""

    name: str
    params: Mapping[str, Value]

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.params.items())))

    def __str__(self) -> str:
        params = ",".join(f"{key}={value_text(value)}" for key, value in self.params.items())
        return f"{self.name}:{params}" if params else self.name


def value_text(value: Value) -> str:
    """The text of a parameter's value, from which the grammar reads the same value."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return value
    # 1, not 1.0, and 1e+10; but -0.0 keeps its sign.
    text = f"{value:g}"
    return text if value.is_integer() and value != 0 and float(text) == value else repr(float(value))


def parse_spec(text: str) -> Spec:
    """Read `NAME[:key=value,...]`; a number may be written `1e-2`, `5/3` or `sqrt(2)`.

    Raises:
        ConfigError: an empty name, a part without `=`, or a key given twice.
    """
    name, colon, rest = text.strip().partition(":")
    if not name.strip():
        raise ConfigError(f"{text!r} has no name; write NAME or NAME:key=value,...")
    if not colon:
        return Spec(name.strip(), {})
    params: dict[str, Value] = {}
    for part in rest.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            keys = f"`initprobe explain {name.strip()}` lists its keys"
            raise ConfigError(f"{text!r}: {part.strip()!r} is not key=value, as in {name.strip()}:key=0.5; {keys}")
        if key in params:
            raise ConfigError(f"{text!r}: {key} is given twice")
        params[key] = parse_value(value)
    return Spec(name.strip(), params)


def parse_value(text: str) -> Value:
    """Read true, false or a number; other text is returned unchanged."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    with suppress(ConfigError):
        return parse_number(text)
    return text


def parse_number(text: str) -> float:
    """Read a finite number, which may contain `+ - * /`, brackets, `sqrt(...)` and `pi`.

    Raises:
        ConfigError: the text is not a finite number.
    """
    value = _value_of(text.strip())
    if not math.isfinite(value):
        raise ConfigError(f"{text!r} is not a finite number; write it like 0.01, 1e-2, 5/3 or sqrt(2)")
    return value


def of_depth(text: str, layers: int) -> float:
    """Read a number as `parse_number` does, with `L` for the number of layers: `1/sqrt(2L)`.

    Args:
        text: a number or a formula.
        layers: the value of `L`.

    Raises:
        ConfigError: the text is not a finite number.
    """
    value = _value_of(_DEPTH.sub(lambda match: f"{'' if match[1] is None else '*'}({layers})", text.strip()))
    if not math.isfinite(value):
        raise ConfigError(f"{text!r} is not a finite number; write it like 0.1, 1/L or 1/sqrt(2L)")
    return value


def _value_of(text: str) -> float:
    """The number, or NaN for other text. Only characters of numbers reach Python's parser."""
    if len(text) > _LONGEST_NUMBER or not _NUMBER_PARTS.fullmatch(text):
        return math.nan
    with suppress(SyntaxError, ValueError, ArithmeticError):
        return _evaluate(ast.parse(text, mode="eval").body)
    return math.nan


def _evaluate(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _evaluate(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left), _evaluate(right))
        case ast.Call(func=ast.Name(id="sqrt"), args=[argument], keywords=[]):
            return math.sqrt(_evaluate(argument))
        case ast.Name(id="pi"):
            return math.pi
    raise ValueError


def build(make: Callable[..., Made], spec: Spec) -> Made:
    """Call `make` with the parameters of a specification, each checked against the signature.

    Args:
        make: makes a record; its annotations give the types of the parameters.
        spec: the parameters.

    Returns:
        The record.

    Raises:
        ConfigError: a parameter is unknown, missing, of a wrong type, or refused by `make`.
    """
    parameters = _parameters(make)
    values = {}
    for key, value in spec.params.items():
        if key not in parameters:
            hint = suggestion(key, list(parameters)) or f" It takes {', '.join(parameters)}."
            raise UnknownNameError(f"{spec.name} has no parameter {key!r}.{hint}")
        values[key] = _checked(f"{spec.name}: {key}", value, parameters[key].hint)
    missing = [key for key, parameter in parameters.items() if parameter.required and key not in values]
    if missing:
        raise ConfigError(f"{spec.name} needs {missing[0]}=, as in {spec.name}:{missing[0]}=0.1")
    try:
        return make(**values)
    except OverflowError:
        raise ConfigError(f"{spec}: a number is too large") from None


class _Parameter(NamedTuple):
    """One parameter of a function that makes a record."""

    hint: Any
    required: bool


# Cached: a sweep builds tens of thousands of records from a few functions, and evaluating annotations is slow.
@lru_cache(maxsize=256)
def _parameters(make: Callable[..., object]) -> Mapping[str, _Parameter]:
    hints = get_type_hints(make)
    return {key: _Parameter(hints[key], p.default is p.empty) for key, p in inspect.signature(make).parameters.items()}


def parameter_hints(make: Callable[..., object]) -> dict[str, Any]:
    """The parameters of `make`, each with its type."""
    return {key: parameter.hint for key, parameter in _parameters(make).items()}


def _checked(what: str, value: Value, hint: Any) -> Value:
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if value not in choices:
            raise ConfigError(
                f"{what}={value_text(value)} is not one of {', '.join(choices)}.{suggestion(str(value), choices)}"
            )
    elif hint is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{what}={value_text(value)} is not true or false")
    elif hint is str:
        if not isinstance(value, str):
            raise ConfigError(f"{what}={value_text(value)} is not a name")
    elif isinstance(value, bool | str) or not math.isfinite(value):
        raise ConfigError(f"{what}={value_text(value)} is not a number; write it like 0.01, 1e-2, 5/3 or sqrt(2)")
    return value
