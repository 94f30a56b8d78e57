"""initprobe: see whether a network's signal and gradient survive before you train it.

`run`, `compare`, `sweep`, `recommend`, `spectrum` and `width` measure networks. `gain` and `phase` are theory alone.
`load` and `diff` read results that were saved. `initprobe.torch.probe` measures your own PyTorch model.
Every result shows itself in a notebook, and has `table()` and `to_dataframe()`; those with a figure have `figure()`.

Read the code from `probe/run.py` on: `run` takes a `ProbeConfig` and returns a `ProbeResult`. The rooms from top to
bottom, each of which imports only from rooms below it:

    cli           the commands; `compare` and `show` only print runs
    testing       assertions for the user's own tests
    sweeps        many runs: files, workers, the store, checks
    studies       recommend and spectrum: questions that take more than one run
    torch         the same for PyTorch models
    contract      whether parameters have the initialization that was meant
    probe         one run, from config to result
    prediction    mean-field theory of one experiment, and fixes that theory proposes
    reports       tables, text files and figures
    diagnosis     rules of the verdict
    config        `ProbeConfig`, validated
    meanfield     theory of infinite width
    engine        the finite network, and statistics of its tensors
    initializers  distributions of weights
    activations   functions of one variable, and norms, skips and losses
    data          input and files
    results       what was measured, as frozen records
    spec          the grammar `name:key=value`
    registry, importing, errors, formatting, arrays    used everywhere

The `__init__.py` of a room says what may come into it and in which file to start. `.github/CONTRIBUTING.md` says
how to add an activation, an initializer, a rule, and so on.
"""

from __future__ import annotations

import sys
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
    from initprobe.meanfield.phase_diagram import PhaseDiagram
    from initprobe.probe.run import run
    from initprobe.results.coordinate_check import CoordinateCheck
    from initprobe.results.gain import Gain
    from initprobe.results.recommendation import Recommendation
    from initprobe.results.run import ProbeResult
    from initprobe.results.spectrum import Spectrum
    from initprobe.studies.comparison import Comparison, compare
    from initprobe.studies.recommendation import recommend
    from initprobe.studies.spectrum import spectrum
    from initprobe.studies.theory import gain, phase
    from initprobe.studies.width import width
    from initprobe.sweeps.differences import Differences, diff
    from initprobe.sweeps.loading import load
    from initprobe.sweeps.python import sweep
    from initprobe.sweeps.swept import Sweep

# Resolved on first use (PEP 562): importing initprobe loads neither NumPy nor pydantic.
_HOMES = {
    "ACTIVATIONS": "activations.catalogue",
    "INITIALIZERS": "initializers.catalogue",
    "Activation": "activations.record",
    "Band": "activations.record",
    "Comparison": "studies.comparison",
    "ConfigError": "errors",
    "CoordinateCheck": "results.coordinate_check",
    "Differences": "sweeps.differences",
    "Distribution": "initializers.distributions",
    "Gain": "results.gain",
    "Initializer": "initializers.record",
    "InitprobeError": "errors",
    "PhaseDiagram": "meanfield.phase_diagram",
    "ProbeConfig": "config.probe_config",
    "ProbeResult": "results.run",
    "Recommendation": "results.recommendation",
    "Spectrum": "results.spectrum",
    "Sweep": "sweeps.swept",
    "activation": "activations.own",
    "compare": "studies.comparison",
    "diff": "sweeps.differences",
    "gain": "studies.theory",
    "load": "sweeps.loading",
    "phase": "studies.theory",
    "recommend": "studies.recommendation",
    "run": "probe.run",
    "spectrum": "studies.spectrum",
    "sweep": "sweeps.python",
    "width": "studies.width",
}

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "Activation",
    "Band",
    "Comparison",
    "ConfigError",
    "CoordinateCheck",
    "Differences",
    "Distribution",
    "Gain",
    "Initializer",
    "InitprobeError",
    "PhaseDiagram",
    "ProbeConfig",
    "ProbeResult",
    "Recommendation",
    "Spectrum",
    "Sweep",
    "activation",
    "compare",
    "diff",
    "gain",
    "load",
    "phase",
    "recommend",
    "run",
    "spectrum",
    "sweep",
    "width",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        # With `obj`, Python's traceback names the nearest attribute.
        raise AttributeError(f"module 'initprobe' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    return getattr(import_module(f"initprobe.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
