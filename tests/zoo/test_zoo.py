"""Networks that are known to train raise no alarm. The slow tests are the table of the README.

`python tests/zoo/zoo_run.py` prints a line for each network, and which part of it was judged.
"""

import json
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from seeds_run import NAMES, SEEDS, alarms, by_hand  # noqa: E402
from zoo_published import FALSE_ALARMS, SEEDED_ALARMS  # noqa: E402
from zoo_run import Report, summary  # noqa: E402

SMALL = [
    "MLP He ReLU x8", "MLP LeCun SELU x12", "highway x10", "VAE", "SIREN", "NeRF", "DeepSets max", "GAT",
    "RealNVP", "LeNet tanh", "VGG pooled", "ResNet-20 fixup", "U-Net group norm", "StyleGAN2 generator", "DETR",
    "LSTM forget 1", "GPT pre-LN x12", "BERT post-LN", "Llama", "mixture of experts", "deep equilibrium",
    "WaveNet",
]  # fmt: skip
BY_HAND = by_hand()


@pytest.mark.parametrize("name", SMALL)
def test_small_nets_are_healthy(name):
    assert not alarms(BY_HAND[name])


@pytest.mark.slow
def test_twenty_nets_at_twenty_seeds():
    raised = {(name, seed): alarms(BY_HAND[name], seed) for name in NAMES for seed in range(SEEDS)}
    alarmed = {pair: rules for pair, rules in raised.items() if rules}
    assert len(alarmed) <= SEEDED_ALARMS * len(raised), alarmed


@pytest.mark.slow
def test_the_zoo_of_libraries_is_judged_right(tmp_path):
    """At most 1% false alarms, nothing refused, nearly all of the parameters judged."""
    libraries = ("timm", "torchvision", "transformers", "diffusers")
    if missing := [name for name in libraries if find_spec(name) is None]:
        pytest.skip(f"pip install initprobe[zoo]: {', '.join(missing)}")
    runner = Path(__file__).with_name("zoo_run.py")  # which forks, as a process with threads must not
    subprocess.run([sys.executable, runner, "--json", tmp_path / "zoo.json"], check=True)
    reports = [Report(**entry) for entry in json.loads((tmp_path / "zoo.json").read_text())]
    words = summary(reports)
    print(words)
    assert len(reports) >= 150
    assert sum(report.alarms for report in reports) <= FALSE_ALARMS * len(reports), words
    assert not [report for report in reports if report.verdict == "refused"], words
    assert statistics.median(report.judged for report in reports) > 0.99, words
