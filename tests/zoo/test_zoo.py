"""Networks that are known to train raise no alarm. The slow tests are the table of the README.

`python tests/zoo/zoo_run.py` prints a line for each network, and which part of it was judged.
"""

import statistics
from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")

from zoo_run import COPIES, entries, examine, import_all, summary  # noqa: E402

from initprobe.torch import probe  # noqa: E402

SMALL = [
    "MLP He ReLU x8", "MLP LeCun SELU x12", "residual MLP x12", "highway x10", "VAE", "SIREN", "NeRF",
    "DeepSets max", "GAT", "EGNN", "DLRM", "PPO actor-critic", "RealNVP", "LeNet tanh", "VGG pooled",
    "ResNet-20 before", "ResNet-20 fixup", "NF-ResNet", "DenseNet", "U-Net group norm", "DCGAN generator",
    "StyleGAN2 generator", "DETR", "LSTM forget 1", "GPT pre-LN x12", "BERT post-LN", "Llama",
    "mixture of experts", "deep equilibrium", "WaveNet",
]  # fmt: skip
SEEDED = [
    "MLP He ReLU x8", "MLP Xavier tanh x5", "MLP LeCun SELU x12", "residual MLP x12", "SIREN",
    "autoencoder sigmoid", "LeNet ReLU, torch default", "VGG pooled", "ResNet-20 after", "ResNet-20 before",
    "ResNet-20 fixup", "DenseNet", "U-Net group norm", "DCGAN generator", "LSTM forget 1", "GPT pre-LN x12",
    "BERT post-LN", "Llama x12", "mixture of experts", "wav2vec",
]  # fmt: skip
BY_HAND = {entry.name: entry for entry in entries(homes=("zoo_hand",))}


def alarms(entry, seed=0):
    """Rules broken above info."""
    torch.manual_seed(seed)
    model, x = entry.make(), entry.given()
    return [one.rule for one in probe(model, x, seed=seed).diagnosis if one.severity != "info" and one.rule != COPIES]


@pytest.mark.parametrize("name", SMALL)
def test_small_nets_are_healthy(name):
    assert not alarms(BY_HAND[name])


@pytest.mark.slow
def test_twenty_nets_at_twenty_seeds():
    found = {(name, seed): alarms(BY_HAND[name], seed) for name in SEEDED for seed in range(20)}
    sick = {pair: rules for pair, rules in found.items() if rules}
    assert len(sick) <= 0.02 * len(found), sick


@pytest.mark.slow
def test_the_zoo():
    """At most 1% false alarms, nothing refused, nearly all of the parameters judged."""
    libraries = ("timm", "torchvision", "transformers", "diffusers")
    if missing := [name for name in libraries if find_spec(name) is None]:
        pytest.skip(f"pip install initprobe[zoo]: {', '.join(missing)}")
    import_all("initprobe.torch")
    reports = [examine(entry) for entry in entries()]
    told = summary(reports)
    print(told)
    assert len(reports) >= 150
    assert sum(one.alarms for one in reports) <= 0.01 * len(reports), told
    assert not [one for one in reports if one.verdict == "refused"], told
    assert statistics.median(one.judged for one in reports) > 0.99, told
