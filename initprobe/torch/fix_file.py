"""`initprobe torch --fix FILE`: a function that makes the model healthy, tried before it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from initprobe.formatting import counted
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding
from initprobe.torch.arguments import Loss
from initprobe.torch.init_code import function_text, run
from initprobe.torch.init_contract import ContractLike, contract_of
from initprobe.torch.init_plan import Observed, observe, planned
from initprobe.torch.init_settings import Setting, kept_names
from initprobe.torch.initialization import apply, unkept, weight_names
from initprobe.torch.loading import Prepared, working_directory_first
from initprobe.torch.model_probe import probe
from initprobe.torch.restore import left_as_found, seed_everything

_TRIED = ("critical", "forward", "balanced", "lsuv")
_DRAWS = 3  # of each function, every one of which must be healthy


@dataclass(frozen=True)
class FixFile:
    """The outcome of the search for such a function.

    Attributes:
        text: the file; None where no function works.
        words: what was found, in one line: the method and the number of weights, or why there is no file.
    """

    text: str | None
    words: str


def fix_file(
    model: nn.Module,
    x: Any,
    *,
    loss: Loss | None = None,
    seed: int = 0,
    keep: Sequence[str] = (),
    contract: ContractLike | None = None,
    threads: int | None = None,
    title: str = "",
) -> FixFile:
    """Look for an initialization after which the model is healthy. The model is left unchanged, bit for bit.

    The methods of `initialize` are tried in turn. The text was run on the model in 3 draws, each of them healthy.

    Args:
        model: the model.
        x: its input.
        loss: as for `probe`.
        seed: of the probe; the draws of the trials start from it.
        keep: patterns of names that stay unchanged, as do those of `contract`.
        contract: as for `initialize`.
        threads: for the probe.
        title: what the model is, for the head of the file.

    Raises:
        ConfigError: the model or a pattern cannot be used.
    """
    options = {"loss": loss, "seed": seed, "threads": threads, "try_fixes": False}
    kept = kept_names(weight_names(model), list(keep), contract_of(contract).clauses)
    observed = observe(model, x, loss, seed)
    reasons: list[str] = []
    for method, settings in _candidates(observed, kept, seed):
        head = (
            f"Initial weights{f' of {title}' if title else ''}, by initprobe, method {method}. Tried on the model in "
        )
        text = function_text(settings, f"{head}{_DRAWS} draws: the verdict was healthy each time.")
        left = _left(observed, text, options)
        if not left:
            return FixFile(text, f"sets {_counted(settings)} by the method {method}; healthy in {_DRAWS} draws")
        reasons.append(f"{method} leaves {_words(left[0])}")
    return FixFile(None, f"no initialization makes the model healthy: {'; '.join(reasons)}")


def _counted(settings: Sequence[Setting]) -> str:
    """How many weights and biases are set: `10 weights and 10 biases`."""
    biases = sum(setting.name.rpartition(".")[2].startswith("bias") for setting in settings)
    parts = [(len(settings) - biases, "weight", "weights"), (biases, "bias", "biases")]
    return " and ".join(counted(*part) for part in parts if part[0])


def fix_prepared(ready: Prepared, keep: Sequence[str], contract: str | None, threads: int | None) -> FixFile:
    """`fix_file` for a model that a command names.

    Args:
        ready: the model and its input.
        keep: patterns of parameters that stay.
        contract: a file of rules; None for none.
        threads: for the statistics; None for all.
    """
    with working_directory_first():
        return fix_file(
            ready.model,
            ready.x,
            loss=ready.loss,
            seed=ready.request.seed,
            keep=keep,
            contract=contract,
            threads=threads,
            title=ready.request.target,
        )


def check_kept(ready: Prepared, keep: Sequence[str]) -> None:
    """Refuse patterns that match no weight, before anything is measured.

    Args:
        ready: the model with its input.
        keep: patterns of parameter names.

    Raises:
        ConfigError: there is one.
    """
    kept_names(weight_names(ready.model), list(keep), ())


def _candidates(observed: Observed, kept: set[str], seed: int) -> Iterator[tuple[str, list[Setting]]]:
    """The settings of each method, each set of values once."""
    tried: list[list[str]] = []
    for method in _TRIED:
        settings = unkept(planned(observed, method), kept)
        if method == "lsuv":
            with left_as_found(observed.arguments.parts, parameters=True):
                seed_everything(seed)
                settings = apply(observed, settings, method)
        values = [setting.template for setting in settings]
        if settings and values not in tried:
            tried.append(values)
            yield method, settings


def _left(observed: Observed, text: str, options: dict[str, Any]) -> list[Finding]:
    """What the verdict finds after the function, in the first draw in which it finds anything."""
    model, x = observed.arguments.model, observed.arguments.x
    for draw in range(_DRAWS):
        with left_as_found(observed.arguments.parts, parameters=True):
            seed_everything(options["seed"] + draw)
            run(text, model)
            result: ProbeResult = probe(model, x, **options)
        faults = [finding for finding in result.diagnosis if finding.severity != "info"]
        if faults:
            return faults
    return []


def _words(finding: Finding) -> str:
    return finding.name + (f" at {finding.module}" if finding.module else "")
