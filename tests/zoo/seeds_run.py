"""Twenty named healthy nets at twenty seeds: `python tests/zoo/seeds_run.py` publishes how many have no alarm."""

from __future__ import annotations

import warnings

import torch
from zoo_entry import Entry
from zoo_published import publish
from zoo_run import COPIES, entries

from initprobe.torch import probe

NAMES = (
    "MLP He ReLU x8", "MLP Xavier tanh x5", "MLP LeCun SELU x12", "residual MLP x12", "SIREN",
    "autoencoder sigmoid", "LeNet ReLU, torch default", "VGG pooled", "ResNet-20 after", "ResNet-20 before",
    "ResNet-20 fixup", "DenseNet", "U-Net group norm", "DCGAN generator", "LSTM forget 1", "GPT pre-LN x12",
    "BERT post-LN", "Llama x12", "mixture of experts", "wav2vec",
)  # fmt: skip
SEEDS = 20


def by_hand() -> dict[str, Entry]:
    """The networks that are written by hand, by name."""
    return {entry.name: entry for entry in entries(homes=("zoo_hand",))}


def alarms(entry: Entry, seed: int = 0) -> list[str]:
    """The rules of the findings above info, without copies that a library makes."""
    torch.manual_seed(seed)
    model, x = entry.make(), entry.given()
    findings = probe(model, x, seed=seed, try_fixes=False, threads=1).diagnosis
    return [finding.rule for finding in findings if finding.severity != "info" and finding.rule != COPIES]


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    nets, silent = by_hand(), 0
    for name in NAMES:
        rules = [alarms(nets[name], seed) for seed in range(SEEDS)]
        silent += sum(not broken for broken in rules)
        print(name, {seed: broken for seed, broken in enumerate(rules) if broken}, flush=True)
    pairs = len(NAMES) * SEEDS
    print(f"{silent} of {pairs} have no finding above info")
    publish("seeds", {"nets": len(NAMES), "seeds": SEEDS, "pairs": pairs, "silent": silent})


if __name__ == "__main__":
    main()
