"""Texts of single cells that several tables share."""

from __future__ import annotations

from collections.abc import Sequence

from initprobe.formatting import NOTHING, fixed, short, trimmed
from initprobe.results.layers import TensorStats
from initprobe.results.run import ProbeResult

_COMPARED = ("init", "act", "weights")

SPARK_BINS = 7  # odd: a spike at 0 is one bin
STATUS_STYLE = {"ok": "", "underflow": "yellow", "overflow": "red", "nonfinite": "red"}
LOST = {"underflow": "under", "overflow": "over", "nonfinite": "NaN"}


def relative_spread(stats: TensorStats) -> str:
    """The standard deviation of the variance over draws, in percent of it."""
    if not stats.variance or stats.variance_sd is None:
        return NOTHING
    spread = 100 * stats.variance_sd / stats.variance
    return f"{spread:.1f}" if spread < 9.95 else fixed(spread, 0)


def compared_names(result: ProbeResult) -> dict[str, str]:
    """What sets a result apart in a comparison: its initializer, or its file of weights, and its activation."""
    config = result.config
    return {"init": str(config.get("weights") or config["init"]), "act": str(config["act"])}


def names_of(results: Sequence[ProbeResult]) -> list[str]:
    """A name per result of a comparison: initializer and activation, then each other setting that differs.

    Args:
        results: as compared.
    """
    keys = dict.fromkeys(key for result in results for key in result.config)
    values = {key: [result.config.get(key) for result in results] for key in keys if key not in _COMPARED}
    varying = {key: each for key, each in values.items() if any(value != each[0] for value in each)}
    return [
        ", ".join(
            [
                " + ".join(compared_names(result).values()),
                *(f"{key}={each[number]}" for key, each in varying.items() if each[number] is not None),
            ]
        )
        for number, result in enumerate(results)
    ]


def short_names_of(results: Sequence[ProbeResult]) -> tuple[list[str], list[str]]:
    """The same for figures: long numbers are rounded, and an activation or initializer of all results stands once.

    Args:
        results: as compared.

    Returns:
        A name per result, and what all of them share.
    """
    names = [trimmed(name, digits=4) for name in names_of(results)]
    parts = [tuple(trimmed(part, digits=4) for part in compared_names(result).values()) for result in results]
    for place, other in ((1, 0), (0, 1)):
        shared = {each[place] for each in parts}
        if len(results) > 1 and len(shared) == 1 and len({each[other] for each in parts}) > 1:
            whole = [" + ".join(each) for each in parts]
            rest = [name.removeprefix(all_of) for name, all_of in zip(names, whole, strict=True)]
            return [f"{each[other]}{words}" for each, words in zip(parts, rest, strict=True)], list(shared)
    return names, []


def shared_words(results: Sequence[ProbeResult]) -> list[str]:
    """Shape and setting of a comparison, those that all results share.

    Args:
        results: as compared.
    """
    parts = {result.description.shape for result in results}, {result.description.setting for result in results}
    return [words for part in parts if len(part) == 1 for words in part]


def value_text(stats: TensorStats, value: float | None) -> str:
    """A number, or how the dtype lost it.

    Args:
        stats: of the tensor, with its status.
        value: a number of these statistics.
    """
    lost = value is None and stats.variance_log10 is None and stats.status != "ok"
    return LOST[stats.status] if lost else short(value, stats.variance_log10)
