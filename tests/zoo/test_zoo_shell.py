"""The shell makes a library's model with random weights, if the library is there."""

import json

import pytest

torch = pytest.importorskip("torch")

from zoo_libraries import timm, torchvision, transformers  # noqa: E402

pytestmark = pytest.mark.slow
TOWER = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
SEQUENCE = {"d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 64, "num_layers": 2}


def library(load):
    """A library, or the test is skipped."""
    try:
        return load()
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")


def reported(initprobe, *arguments):
    done = initprobe("torch", *arguments, "--no-figures", "--export-json", "-")
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize(("target", "load"), [("timm:test_vit", timm), ("torchvision:squeezenet1_1", torchvision)])
def test_models_of_libraries_are_probed_by_name(initprobe, target, load):
    library(load)
    result = reported(initprobe, target)
    side = 160 if "timm" in target else 224
    assert result["config"]["input"] == f"8 x 3 x {side} x {side}"
    wrong = initprobe("torch", target + "x", "--no-figures")
    assert wrong.code == 2 and f"Did you mean '{target.split(':')[1]}'?" in wrong.err


@pytest.mark.parametrize(
    ("family", "options", "shape"),
    [
        ("bert", TOWER | {"vocab_size": 200, "intermediate_size": 64}, "8 x 32"),
        ("t5", SEQUENCE | {"vocab_size": 200}, "8 x 32, 8 x 32"),
        ("vit", TOWER | {"image_size": 32, "patch_size": 8}, "8 x 3 x 32 x 32"),
    ],
)  # fmt: skip
def test_models_are_probed_from_a_configuration(initprobe, tmp_path, family, options, shape):
    config = library(transformers).AutoConfig.for_model(family, **options)
    config.save_pretrained(tmp_path / "config")
    assert reported(initprobe, "hf:config")["config"]["input"] == shape
    assert reported(initprobe, "hf:config/config.json")["config"]["training"]
    config.architectures = [
        {"bert": "BertForMaskedLM", "t5": "T5EncoderModel", "vit": "ViTForImageClassification"}[family]
    ]
    config.save_pretrained(tmp_path / "config")
    options = [] if family == "vit" else ["--input-shape", "2,9:0..99"]
    assert config.architectures[0] in reported(initprobe, "hf:config", *options)["config"]["model"]
