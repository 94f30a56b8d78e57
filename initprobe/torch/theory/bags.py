"""The rule for `embedding_bag`: sums or means of rows of a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from initprobe.torch.theory.moments import Moments, NoRule, gaussian_noise
from initprobe.torch.theory.rule import Lookup, Moved, Rule, constant, names
from initprobe.torch.theory.trace import Node


def _bag(node: Node, of: Lookup) -> Moments:
    """The rows of the table are independent; facts say how often one bag, or two, have the same row."""
    if "bags" not in node.facts:
        raise NoRule("embedding_bag of largest rows, or with weights per sample")
    weight = constant(node.argument("weight", 1))
    spread, common = weight.square - weight.mean**2, weight.mean**2
    (same, other), (own_total, both_totals), (total, _) = node.facts["bags"]
    pairs = np.array(
        [
            [spread * same + common * own_total, common * own_total],
            [spread * other + common * both_totals, common * both_totals],
        ]
    )
    made = Moments(node.shape, weight.mean * total, pairs[: min(node.shape[0], 2), : min(node.shape[1], 2)])
    return replace(made, noise=gaussian_noise(made))


def _nothing_back(node: Node, of: Lookup, gradient: Moments) -> Moved:
    return ()


RULES = (Rule(names("embedding_bag"), _bag, _nothing_back),)
