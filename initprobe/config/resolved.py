"""`resolve`: the records that the names in a config stand for. Files of weights are read, and modules imported, here.

`ProbeConfig(...)` only validates. Its properties `activation`, `initializer`, `bias_initializer` and `network` come
from here when they are first used. `prepare` asks for them before any work is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from initprobe.activations.own import unread_activation
from initprobe.activations.record import Activation
from initprobe.config.consistency import check_bias, check_branches, check_fit
from initprobe.config.names import activation_of, initializer_of, is_imported
from initprobe.errors import at_field
from initprobe.importing import source_file
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.initializers.own import unread_initializer
from initprobe.initializers.record import Initializer
from initprobe.spec import Spec

if TYPE_CHECKING:
    from initprobe.config.probe_config import ProbeConfig
    from initprobe.initializers.weight_files import Network


@dataclass(frozen=True, eq=False)
class Resolved:
    """What the names in a config stand for.

    Attributes:
        activation: the activation.
        network: the network in the file of weights; None where weights are drawn.
        initializer: of the weights, with the gain that the activation asks for; stands for the file of weights too.
        bias_initializer: the one asked for, the one that comes with the weights, or zeros.
    """

    activation: Activation
    network: Network | None
    initializer: Initializer
    bias_initializer: Initializer


def resolve(config: ProbeConfig, importing: bool = True) -> Resolved:
    """Read the file of weights, import the user's own functions, and fit the initializer to the activation.

    Args:
        config: the experiment.
        importing: import modules; otherwise a `package.module:name` is only looked for, and its record has a name
            alone. So a file of an unknown author runs no code.

    Raises:
        InputError: the file of weights cannot be read.
        ConfigError: a module or a name in it is missing, or what it holds does not fit the experiment.
    """
    dtype = config.dtype if "dtype" in config.model_fields_set else None
    network = None
    if config.weights is not None:
        from initprobe.initializers.weight_files import read_weights

        network = read_weights(config.weights, dtype)
    with at_field("act"):
        activation = _activation(config.act, importing)
    with at_field("init"):
        initializer = network.initializer if network else _initializer(config.init, importing)
        if initializer.tuning is not None and (importing or not is_imported(config.act)):
            from initprobe.config.tuned import tuned  # lazy: only these initializers need the mean-field maps

            initializer = tuned(initializer, activation)
    with at_field("bias_init"):
        bias = None if config.bias_init is None else _initializer(config.bias_init, importing)
    check_fit(config, initializer)
    if bias is not None and importing:
        check_bias(bias)
    return Resolved(activation, network, initializer, bias or initializer.bias or INITIALIZERS["zeros"])


def _activation(given: Spec | Activation, importing: bool) -> Activation:
    if isinstance(given, Activation):
        return given
    if is_imported(given) and not importing:
        source_file(given.name)  # refuses a module that is not there
        return unread_activation(given.name)
    return activation_of(given)


def _initializer(given: Spec | Initializer | None, importing: bool) -> Initializer:
    assert given is not None
    if isinstance(given, Initializer):
        return given
    if is_imported(given) and not importing:
        source_file(given.name)  # refuses a module that is not there
        return unread_initializer(given.name)
    return initializer_of(given)


def own_names(config: ProbeConfig) -> tuple[str, ...]:
    """Every `package.module:name` in a config."""
    return tuple(str(value) for value in (config.act, config.init, config.bias_init) if is_imported(value))


def check_resolved(config: ProbeConfig, importing: bool = True) -> ProbeConfig:
    """The config that is run: names resolved, all checks made, precision and input taken from a file of weights.

    Args:
        config: the experiment.
        importing: as of `resolve`; without it the config keeps the stand-ins, and cannot be run.

    Raises:
        InputError: the file of weights cannot be read.
        ConfigError: as `resolve`, or the network in the file cannot be cut into blocks.
    """
    if config.weights is not None:
        from initprobe.initializers.weight_files import read_weights

        config = _as_in_file(config, read_weights(config.weights))
    if not importing:
        config = config.model_copy()
        vars(config)["resolved"] = resolve(config, importing=False)
    _ = config.resolved
    check_branches(config)
    return config


def _as_in_file(config: ProbeConfig, network: Network) -> ProbeConfig:
    """The config with the precision and the input of the file of weights, where it gives none itself."""
    in_file = {"dtype": network.dtype} | ({"input": config.weights} if network.x else {})
    missing = {name: value for name, value in in_file.items() if name not in config.model_fields_set}
    # An input that no file holds is the default: give it, so that what depends on it is checked.
    fields = {name: getattr(config, name) for name in (*config.model_fields_set, "input")}
    return type(config)(**(fields | missing)) if missing or "input" not in config.model_fields_set else config
