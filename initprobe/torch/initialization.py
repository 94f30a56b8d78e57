"""`initialize(model, x)`: set the weights of a model by theory, by its data or by a contract. Start reading here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from initprobe.errors import ConfigError
from initprobe.registry import suggestion
from initprobe.torch.arguments import parts_of
from initprobe.torch.init_code import function_text, run
from initprobe.torch.init_contract import ContractLike, contract_of, set_by_contract
from initprobe.torch.init_data import scale_to_data
from initprobe.torch.init_layers import METHODS
from initprobe.torch.init_plan import Observed, observe, planned
from initprobe.torch.init_settings import Setting, kept_names, whole_name
from initprobe.torch.initialized import Initialized


def initialize(
    model: nn.Module,
    x: Any,
    method: str = "critical",
    *,
    keep: Sequence[str] = (),
    contract: ContractLike | None = None,
) -> Initialized:
    """Set the weights of a PyTorch model in place.

    One pass is recorded, which leaves the model unchanged. The pass shows the activation after each layer, the fans,
    the layers that end residual branches, and the norms. Weights, biases, embeddings, norms and recurrences are then
    set; parameters that no theory covers, such as position embeddings, stay.

    Args:
        model: any module.
        x: its input, as for `probe`; for `contract` it is not used and may be None.
        method: `critical` is the edge of chaos of the activation where it holds, else `forward`. `forward` keeps the
            mean square of the signal. `balanced` weighs signal and gradient. `lsuv` scales each layer to variance 1 on
            `x`, if the samples differ there. `contract` draws what the rules of `contract` say.
        keep: patterns of names that stay unchanged, such as `head.*`.
        contract: patterns and rules, as for `assert_init`, or the path of a file. Unless the method is `contract`, the
            parameters that its patterns name stay unchanged.

    Returns:
        What was set and what was not. The draws follow from torch's global generator: `torch.manual_seed` repeats them.

    Raises:
        ConfigError: the model, the input, the method, a pattern or a rule cannot be used; nothing is changed.
    """
    _check_method(method, contract)
    names, rules = weight_names(model), contract_of(contract)
    if method == "contract":
        kept = kept_names(names, list(keep), ())
        changed = set_by_contract(parts_of(model).model, rules, kept)
        return _record(method, list(names), changed, kept, "")
    kept = kept_names(names, list(keep), rules.clauses)
    observed = observe(model, x)
    settings = apply(observed, unkept(planned(observed, method), kept), method)
    code = function_text(settings, f"Initial weights by initprobe.torch.initialize, method {method}.")
    record = _record(method, list(names), [setting.name for setting in settings], kept, code)
    return replace(record, unscaled=tuple(setting.name for setting in settings if setting.unscaled))


def _check_method(method: str, contract: ContractLike | None) -> None:
    """Raise if there is no such method, or if it needs a contract."""
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}.{suggestion(method, METHODS)}")
    if method == "contract" and contract is None:
        raise ConfigError("method 'contract' needs contract=, a mapping of patterns to rules or the path of a file")


def weight_names(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """All names of each weight by its first one; of parametrized layers that of the whole weight."""
    parameters = parts_of(model).all_parameters
    listed = list(parameters)
    groups: dict[int, dict[str, None]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(id(parameter), {})[whole_name(name, listed)] = None
    names: dict[str, tuple[str, ...]] = {}
    for group in groups.values():
        first, *_ = group
        names[first] = tuple(dict.fromkeys((*names.get(first, ()), *group)))
    return names


def unkept(settings: Sequence[Setting], kept: set[str]) -> list[Setting]:
    """The settings of weights that may be changed.

    Args:
        settings, kept: of all weights, and the names of parameters that stay.
    """
    return [setting for setting in settings if setting.name not in kept]


def apply(observed: Observed, settings: Sequence[Setting], method: str) -> list[Setting]:
    """Set the weights in place.

    Args:
        observed: the recorded model.
        settings: what to set.
        method: with `lsuv` the weights are then scaled to the input.

    Returns:
        The settings, with the measured std for `lsuv`.
    """
    run(function_text(settings, ""), observed.arguments.model)
    return scale_to_data(observed, settings) if method == "lsuv" else list(settings)


def _record(method: str, names: Sequence[str], changed: Sequence[str], kept: set[str], code: str) -> Initialized:
    still = tuple(name for name in names if name in kept)
    rest = tuple(name for name in names if name not in {*changed, *kept})
    return Initialized(method, tuple(changed), still, rest, code)
