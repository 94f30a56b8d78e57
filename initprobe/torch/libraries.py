"""Models of timm, torchvision and transformers with random weights. Nothing is downloaded.

timm:resnet50            timm.create_model("resnet50", pretrained=False)
torchvision:resnet50     torchvision.models.get_model("resnet50", weights=None)
hf:CONFIG_DIR            what CONFIG_DIR/config.json describes, from transformers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from initprobe.errors import ConfigError, InputError, MissingLibraryError
from initprobe.importing import user_code
from initprobe.registry import suggestion

_SAMPLES, _TOKENS = 8, 32


def library_of(target: str) -> str | None:
    """`timm`, `torchvision` or `hf` for a target that names one of their models; else None."""
    name, colon, _ = target.partition(":")
    return name if colon and name in _MAKERS else None


def make(target: str) -> Any:
    """Make a model of a library, with random weights from the global generator.

    Args:
        target: `timm:NAME`, `torchvision:NAME` or `hf:CONFIG_DIR`.

    Returns:
        The model.

    Raises:
        MissingLibraryError: the library is not installed.
        ConfigError: the library has no such model, or cannot make it.
    """
    name, _, model = target.partition(":")
    return _MAKERS[name](target, model)


def _imported(target: str, library: str) -> Any:
    try:
        with user_code(f"{target}: {library} cannot be imported"):
            return _module(target, library)
    except MissingLibraryError:
        raise
    except ConfigError as error:
        if "torchvision::" in str(error):  # its operators were built for another torch
            raise ConfigError(f"{error}; install the torchvision that goes with this torch") from None
        raise


def _module(target: str, library: str) -> Any:
    try:
        return import_module(library)
    except ModuleNotFoundError as error:
        if error.name == library:
            raise MissingLibraryError(f"{target} needs {library}: pip install {library}") from None
        raise


def _from_timm(target: str, name: str) -> Any:
    timm = _imported(target, "timm")
    if not timm.is_model(name):
        raise ConfigError(f"{target}: timm has no model {name!r}.{suggestion(name, timm.list_models())}")
    with user_code(f"{target} cannot be made"):
        return timm.create_model(name, pretrained=False)


def _from_torchvision(target: str, name: str) -> Any:
    models = _imported(target, "torchvision").models
    if name not in models.list_models():
        raise ConfigError(f"{target}: torchvision has no model {name!r}.{suggestion(name, models.list_models())}")
    backbone = {"weights_backbone": None} if "weights_backbone" in _parameters(models.get_model_builder(name)) else {}
    with user_code(f"{target} cannot be made"):
        return models.get_model(name, weights=None, **backbone)


def _parameters(function: Callable[..., Any]) -> Mapping[str, Any]:
    from inspect import signature

    return signature(function).parameters


def _from_transformers(target: str, name: str) -> Any:
    folder = Path(name).parent if name.endswith("config.json") else Path(name)
    if not (folder / "config.json").is_file():
        raise InputError("holds no config.json; nothing is downloaded, so give a folder that has it", file=folder)
    library = _imported(target, "transformers")
    with user_code(f"{target}: cannot make what its config.json describes"):
        config = library.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        kind = next((name for name in config.architectures or () if hasattr(library, name)), None)
        model = getattr(library, kind)(config) if kind else library.AutoModel.from_config(config)
        return model.train()  # transformers makes some models in evaluation mode


_MAKERS: dict[str, Callable[[str, str], Any]] = {
    "timm": _from_timm,
    "torchvision": _from_torchvision,
    "hf": _from_transformers,
}


def usual_shapes(target: str, model: Any) -> list[str]:
    """The input that a library names for its model.

    Args:
        target: the name of the model, as for `make`.
        model: the model.

    Returns:
        One `--input-shape` per input; none where the library names none.
    """
    library, _, name = target.partition(":")
    shapes = {"timm": _timm_shapes, "torchvision": _torchvision_shapes, "hf": _transformers_shapes}[library]
    return shapes(name, model)


def _timm_shapes(name: str, model: Any) -> list[str]:
    size = (getattr(model, "pretrained_cfg", None) or {}).get("input_size")
    return [",".join(map(str, (_SAMPLES, *size)))] if size else []


def _torchvision_shapes(name: str, model: Any) -> list[str]:
    weights = next(iter(import_module("torchvision").models.get_model_weights(name)), None)
    side = getattr(getattr(weights, "transforms", None), "keywords", {}).get("crop_size")
    return [f"{_SAMPLES},3,{side},{side}"] if isinstance(side, int) else []


def _transformers_shapes(name: str, model: Any) -> list[str]:
    """Ids below the size of the vocabulary, or images of the configured size. An encoder-decoder needs two inputs."""
    config, main = model.config, getattr(model, "main_input_name", "")
    size = getattr(config, "vocab_size", None)
    if main == "input_ids" and isinstance(size, int):
        ids = f"{_SAMPLES},{_TOKENS}:0..{size - 1}"
        also = [f"decoder_input_ids={ids}"] if getattr(config, "is_encoder_decoder", False) else []
        return [f"input_ids={ids}", *also]
    side, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
    if main == "pixel_values" and isinstance(side, int):
        return [f"pixel_values={_SAMPLES},{channels},{side},{side}"]
    return []
