"""`ProbeConfig`: what it fills in, what it refuses and how it says so."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.config.probe_config import ProbeConfig
from initprobe.data.noise import DATASETS, INPUTS
from initprobe.errors import ConfigError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.spec import Spec


def _config(**fields: Any) -> ProbeConfig:
    return ProbeConfig(**{"init": "he", "act": "relu"} | fields)


def test_defaults_are_as_documented() -> None:
    config = _config()
    assert config.initializer.name == "he_normal"
    assert config.activation is ACTIVATIONS["relu"]
    assert config.bias_initializer is INITIALIZERS["zeros"]
    assert config.noise is not None and config.noise.params == {"std": 1, "mean": 0, "correlation": 0}
    assert config.layer_widths == (500,) * 10
    assert (config.batch, config.batches, config.draws, config.seed) == (None, 1, 4, 0)
    assert config.dtype == "float32"
    assert config.input_width is None
    assert not config.standardize


@pytest.mark.parametrize(
    ("fields", "widths"),
    [
        ({"layers": 3}, (500,) * 3),
        ({"width": 7}, (7,) * 10),
        ({"layers": 2, "width": 7}, (7, 7)),
        ({"widths": (5, 4, 3)}, (5, 4, 3)),
        ({"widths": [5, 4, 3], "layers": 3}, (5, 4, 3)),
        ({"layers": 1, "width": 1}, (1,)),
    ],
)
def test_layers_and_width_and_widths_agree(fields: dict[str, Any], widths: tuple[int, ...]) -> None:
    assert _config(**fields).layer_widths == widths


@pytest.mark.parametrize("name", list(INITIALIZERS))
def test_every_initializer_is_accepted_as_its_example(name: str) -> None:
    assert _config(init=INITIALIZERS[name].example).initializer.name == name


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_every_activation_is_accepted_by_name(name: str) -> None:
    assert _config(act=ACTIVATIONS[name].example).activation.name == name


@pytest.mark.parametrize("name", list(INPUTS))
def test_every_input_is_accepted_by_name(name: str) -> None:
    config = _config(input=name)
    source = config.noise or config.dataset
    assert source is INPUTS[name] or (source is not None and source.name == name)
    assert (config.noise is None) == (name in DATASETS)


@pytest.mark.parametrize(
    "init",
    [
        "normal:std=1e-2",
        Spec("normal", {"std": 0.01}),
        {"name": "normal", "std": 0.01},
        {"name": "Random-Normal", "std": 0.01},
    ],
)
def test_a_specification_is_text_a_spec_or_a_mapping(init: object) -> None:
    initializer = _config(init=init).initializer
    assert initializer.variance(3, 4) == 0.01**2


def test_whole_numbers_in_a_mapping_are_numbers() -> None:
    assert _config(init={"name": "normal", "std": 2}).initializer.variance(3, 4) == 4


def test_parameters_reach_the_records() -> None:
    config = _config(init="he:gain=2", act="leaky_relu:slope=0.25", input="gaussian:std=3", bias_init="normal:std=0.1")
    assert config.initializer.variance(8, 8) == 1
    assert config.activation.params == {"slope": 0.25}
    assert config.noise is not None and config.noise.params["std"] == 3
    assert config.bias_initializer.variance(1, 1) == 0.1**2


def test_own_records_are_kept_unchanged() -> None:
    init = replace(INITIALIZERS["he"], name="mine")
    act = replace(ACTIVATIONS["tanh"], name="my_tanh")
    bias = replace(INITIALIZERS["zeros"], name="my_bias", mean=0.5)
    config = ProbeConfig(init=init, act=act, bias_init=bias)
    assert (config.initializer, config.activation, config.bias_initializer) == (init, act, bias)
    assert config.initializer is init and config.activation is act and config.bias_initializer is bias


def test_the_bias_that_comes_with_the_weights_yields_to_one_asked_for() -> None:
    assert _config(init="torch_linear").bias_initializer.name == "fan_in_heuristic"
    assert _config(init="torch_linear", bias_init="zeros").bias_initializer.name == "zeros"


@pytest.mark.parametrize("path", ["x.npy", "x.NPZ", "some/dir/x.csv", "./noise", Path("gaussian")])
def test_a_path_is_input_from_a_file(path: str | Path) -> None:
    config = _config(input=path, standardize=True)
    assert config.input == Path(path)
    assert config.noise is None


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    # fields, how the message starts, what else it says
    ({"init": "heh"}, "init: unknown initializer 'heh'", "Did you mean 'he'?"),
    ({"init": "he:gian=2"}, "init: he has no parameter 'gian'", "Did you mean 'gain'?"),
    ({"init": "he:gain=big"}, "init: he: gain=big", "is not a number"),
    ({"init": "he:mode=fan"}, "init: he: mode=fan", "fan_in, fan_out, fan_avg"),
    ({"init": "he:gain"}, "init: ", "is not key=value"),
    ({"init": "normal"}, "init: normal needs std= or var=", "normal:std=0.01"),
    ({"init": "constant"}, "init: constant needs value=", ""),
    ({"init": ""}, "init: ", "has no name"),
    ({"init": 5}, "init: ", "5 is not a name"),
    ({"init": None}, "init: is missing", "name an initializer, or give `weights`"),
    ({"init": {}}, "init: ", "is not a name"),
    ({"init": {"std": 1}}, "init: ", "is not a name"),
    ({"init": {"name": "normal", "std": "wide"}}, "init: normal: std=wide", "is not a number"),
    ({"init": {"name": "normal", "std": True}}, "init: normal: std=true", "is not a number"),
    ({"init": {"name": "normal", "std": [0.1]}}, "init: ", "std"),
    ({"init": {"name": "normal", "std": {"value": 0.1}}}, "init: ", "std"),
    ({"init": {"name": "normal", "std": math.nan}}, "init: ", "std"),
    ({"init": {"name": "he", "gain": math.inf}}, "init: ", "gain"),
    ({"init": {"name": "he", "gain": None}}, "init: ", "gain"),
    ({"init": {"name": "he", "gain": 10**400}}, "init: ", "gain"),
    ({"init": {"name": "he", 3: 4}}, "init: ", "3"),
    ({"init": "he:gain=1e200"}, "init: ", "gain"),
    ({"init": ACTIVATIONS["tanh"]}, "init: ", "is not a name"),
    ({"act": "tahn"}, "act: unknown activation 'tahn'", "Did you mean 'tanh'?"),
    ({"act": "relu:slope=1"}, "act: relu takes no parameters", "slope"),
    ({"act": "elu:alpha=0"}, "act: elu: alpha must be above 0", ""),
    ({"act": {"name": "elu", "alpha": math.nan}}, "act: elu: alpha", ""),
    ({"act": INITIALIZERS["he"]}, "act: ", "is not a name"),
    ({"bias_init": "he"}, "bias_init: he_normal depends on the layer's size", "normal:std=0.1"),
    ({"bias_init": "orthogonal"}, "bias_init: orthogonal depends on the layer's size", ""),
    ({"bias_init": "zeroes:x=1"}, "bias_init: ", ""),
    ({"input": "gausian"}, "input: unknown input 'gausian'", "Did you mean 'gaussian'?"),
    ({"input": "gaussian:std=-1"}, "input: gaussian: std must be at least 0", ""),
    ({"input": "gaussian:correlation=2"}, "input: gaussian: correlation must lie between 0 and 1", ""),
    ({"input": "uniform:low=2,high=1"}, "input: uniform: low 2 is above high 1", ""),
    ({"input": 3}, "input: ", "3 is not a name"),
    ({"standardize": True}, "standardize: is for data from a file", "std= and mean="),
    ({"standardize": "perhaps"}, "standardize: ", "true or false, not"),
    ({"layers": 0}, "layers: ", "at least 1, not 0"),
    ({"layers": 2.5}, "layers: ", "whole number"),
    ({"layers": "3"}, "layers: ", "whole number"),
    ({"layers": True}, "layers: ", "whole number"),
    ({"width": -5}, "width: ", "at least 1, not -5"),
    ({"widths": ()}, "widths: is empty", "500,400,300"),
    ({"widths": (5, 0)}, "widths.1: ", "at least 1, not 0"),
    ({"widths": "500"}, "widths: ", "must be a list"),
    ({"widths": (5, 5), "layers": 3}, "layers: is 3, but `widths` names 2", ""),
    ({"widths": (5, 5), "width": 5}, "width: is for every layer, and `widths` for each of them", ""),
    ({"input_width": 0}, "input_width: ", "at least 1"),
    ({"batch": 1}, "batch: ", "at least 2, not 1"),
    ({"batches": 0}, "batches: ", "at least 1"),
    ({"draws": 0}, "draws: ", "at least 1"),
    ({"draws": None}, "draws: ", "whole number"),
    ({"seed": -1}, "seed: ", "at least 0, not -1"),
    ({"seed": 1.0}, "seed: ", "whole number"),
    ({"dtype": "float16"}, "dtype: ", "'float32' or 'float64', not 'float16'"),
    ({"dtype": "two\nlines"}, "dtype: ", "'float32' or 'float64'"),
    ({"intit": "he"}, "unknown field 'intit'.", "Did you mean 'init'?"),
    ({"qqqq": 1}, "unknown field 'qqqq'", ""),
]


@pytest.mark.parametrize(("fields", "start", "words"), REFUSED, ids=[str(fields)[:60] for fields, _, _ in REFUSED])
def test_refusals_name_the_field_in_one_line(fields: dict[str, Any], start: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _config(**fields)
    message = str(caught.value)
    assert message.startswith(start)
    assert words in message
    assert len(message.splitlines()) == 1
    assert caught.value.__cause__ is None  # pydantic's own report stays out of a traceback


@pytest.mark.parametrize("field", ["init", "act"])
def test_a_missing_field_is_named(field: str) -> None:
    fields = {"init": "he", "act": "relu"}
    del fields[field]
    with pytest.raises(ConfigError, match=f"^{field}: is missing(; name an initializer, or give `weights`)?$"):
        ProbeConfig(**fields)


def test_pydantics_own_entry_point_refuses_with_the_same_words() -> None:
    with pytest.raises(ValueError, match=r"act: unknown activation 'tahn'. Did you mean 'tanh'\?"):
        ProbeConfig.model_validate({"init": "he", "act": "tahn"})


def test_parameters_in_the_name_of_a_mapping_are_not_dropped() -> None:
    """`{"name": "he:mode=fan_out"}` is either an error or he with fan_out, never plain he."""
    try:
        config = _config(init={"name": "he:mode=fan_out"})
    except ConfigError:
        return
    assert config.initializer.params["mode"] == "fan_out"


def test_a_config_is_frozen() -> None:
    config = _config()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1  # type: ignore[misc]
    assert config.seed == 0


def test_the_same_experiment_is_equal() -> None:
    assert _config(init="he:gain=2") == _config(init="he:gain=2.0")
    assert _config() != _config(seed=1)


DUMPED: list[dict[str, Any]] = [
    {},
    {"init": "he:mode=fan_out,gain=5/3", "act": "leaky_relu:slope=0.2", "bias_init": "normal:std=0.1"},
    {"init": "truncated_normal:std=0.1,corrected=true", "input": "gaussian:correlation=0.5", "dtype": "float64"},
    {"widths": (5, 4), "input": Path("data/x.npy"), "standardize": True, "batch": 8, "input_width": 3},
]


@pytest.mark.parametrize("fields", DUMPED, ids=str)
def test_a_dump_is_json_and_makes_the_same_experiment(fields: dict[str, Any]) -> None:
    config = _config(**fields)
    dumped = json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=False))
    assert set(dumped) == set(ProbeConfig.model_fields) - {
        "weights",
        "block",
        "formats",
        "optimizer",
    }  # as in older stores
    assert ProbeConfig(**dumped) == config
    assert json.loads(config.model_dump_json()) == dumped


def test_a_dump_names_records_of_your_own() -> None:
    init = replace(INITIALIZERS["he"], name="mine")
    act = replace(ACTIVATIONS["tanh"], name="my_tanh", value=np.tanh)
    dumped = json.loads(json.dumps(ProbeConfig(init=init, act=act).model_dump(mode="json")))
    assert (dumped["init"], dumped["act"], dumped["input"]) == ("mine", "my_tanh", "gaussian")


def test_a_dump_after_use_is_the_same() -> None:
    """What a configuration works out and keeps is no part of it."""
    used, fresh = _config(), _config()
    assert used.initializer and used.activation and used.noise and used.bias_initializer
    assert used.model_dump(mode="json") == fresh.model_dump(mode="json")
    assert used == fresh
