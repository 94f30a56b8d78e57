"""initprobe: see whether a network's signal and gradient survive before you train it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initprobe.activations.catalogue import ACTIVATIONS
    from initprobe.activations.own import activation
    from initprobe.activations.record import Activation, Band
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.errors import ConfigError, InitprobeError
    from initprobe.initializers.catalogue import INITIALIZERS
    from initprobe.initializers.distributions import Distribution
    from initprobe.initializers.record import Initializer
    from initprobe.probe.run import run
    from initprobe.results.run import ProbeResult

# Resolved on first use (PEP 562): importing initprobe loads neither NumPy nor pydantic.
_HOMES = {
    "ACTIVATIONS": "activations.catalogue",
    "Activation": "activations.record",
    "Band": "activations.record",
    "ConfigError": "errors",
    "Distribution": "initializers.distributions",
    "INITIALIZERS": "initializers.catalogue",
    "InitprobeError": "errors",
    "Initializer": "initializers.record",
    "ProbeConfig": "config.probe_config",
    "ProbeResult": "results.run",
    "activation": "activations.own",
    "run": "probe.run",
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
