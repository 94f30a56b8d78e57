"""initprobe: see whether a network's signal and gradient survive before you train it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initprobe.activations import ACTIVATIONS, Activation, Band
    from initprobe.config import ProbeConfig
    from initprobe.errors import ConfigError, InitprobeError
    from initprobe.functions import activation
    from initprobe.initializers import INITIALIZERS, Distribution, Initializer
    from initprobe.probe import run
    from initprobe.results import ProbeResult

# Resolved on first use (PEP 562): importing initprobe loads neither NumPy nor pydantic.
_HOMES = {
    "ACTIVATIONS": "activations",
    "Activation": "activations",
    "Band": "activations",
    "ConfigError": "errors",
    "Distribution": "initializers",
    "INITIALIZERS": "initializers",
    "InitprobeError": "errors",
    "Initializer": "initializers",
    "ProbeConfig": "config",
    "ProbeResult": "results",
    "activation": "functions",
    "run": "probe",
}

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "Activation",
    "Band",
    "ConfigError",
    "Distribution",
    "Initializer",
    "InitprobeError",
    "ProbeConfig",
    "ProbeResult",
    "activation",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'initprobe' has no attribute {name!r}")
    return getattr(import_module(f"initprobe.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
