"""The cost of a run in operations and memory. A run that would not fit in memory is refused before it starts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from initprobe.config.probe_config import DEFAULT_BATCH, DEFAULT_LAYERS, ProbeConfig
from initprobe.data.machine import available_bytes
from initprobe.errors import MemoryLimitError
from initprobe.probe.memory_parts import DRAW_BYTES, LAYER_BYTES, is_remade, parts, sample_bytes

# Smallest share of the whole that the error names.
_NAMED_SHARE = 0.005
# With fewer sizes the advice is not to lower --layers.
_MANY_LAYERS = 5
# Where the input is so many times wider than all layers, the advice is to make the input narrower.
_WIDER = 4
# With fewer samples the advice is not to lower --batch.
_FEW_SAMPLES = 20
# Largest share of the free memory that a run may take.
_MEMORY_SHARE = 0.9


class Cost(NamedTuple):
    """The cost of a run: floating-point operations of its matrix products, and bytes of memory at its peak."""

    flops: float
    peak_bytes: int


def cost(config: ProbeConfig, threads: int | None = None) -> Cost:
    """The cost of a run, without reading its data.

    Args:
        config: the settings. Real data counts as noise with one feature per unit of the first layer, unless the config
            gives the number.
        threads: of the run; None for all available processors.

    Raises:
        MemoryLimitError: there are so many layers that their statistics alone would not fit.
    """
    check_layers(config.depth)
    sizes = config.nominal_sizes
    batch = config.batch or DEFAULT_BATCH
    products = sum(a * b for a, b in itertools.pairwise(sizes))
    each = 4 if is_remade(config, sizes, batch) else 3
    fit = config.initializer.fit.products if config.initializer.fit else 0
    passes = each * config.batches * config.draws + 3 * (config.draws * bool(config.objective) + config.train_steps)
    fitted = fit * (config.draws + bool(config.train_steps))
    return Cost(2.0 * products * batch * (passes + fitted), parts(config, sizes, batch, threads).total)


def check_layers(layers: int) -> None:
    """Make sure that the statistics of so many layers fit, before any list with an entry per layer is made.

    Raises:
        MemoryLimitError: they would not fit.
    """
    available = available_bytes()
    if (needed := LAYER_BYTES * layers) > _MEMORY_SHARE * available:
        raise MemoryLimitError(
            f"the statistics of {layers:,} layers alone need {_gigabytes(needed)}, and {_gigabytes(available)} is "
            "free; lower `layers`"
        )


def check_memory(config: ProbeConfig, sizes: Sequence[int], batch: int, held: int, width_field: str = "width") -> None:
    """Make sure that a run fits in memory.

    Args:
        config: the settings.
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
        held: bytes of data that are in memory already.
        width_field: the argument that sets the width of all layers.

    Raises:
        MemoryLimitError: it would not fit; the message says what takes how much, and what to lower.
    """
    needed, available = parts(config, sizes, batch, data=held), available_bytes()
    if needed.total <= _MEMORY_SHARE * available:
        return

    def fits(batches: int, batch: int) -> bool:
        split = config.model_copy(update={"batches": batches})
        return parts(split, sizes, batch, data=held).total <= _MEMORY_SHARE * available

    network = _smaller_network(config, sizes, width_field)
    fixes = {
        "weights": network,
        "activations": network if batch < _FEW_SAMPLES else _smaller_batch(config.batches, batch, fits),
        "layers": "lower `layers`",
        "draws": _fewer_samples(config, sizes, batch),
        "data": "give a smaller `input`",
        "program": "free some memory, or lower `threads`",
    }
    by_size = sorted(needed._asdict().items(), key=lambda part: -part[1])
    words = ", ".join(f"{name} {_gigabytes(size)}" for name, size in by_size if size >= _NAMED_SHARE * needed.total)
    fix = fixes[by_size[0][0]]
    raise MemoryLimitError(
        f"this run needs {_gigabytes(needed.total)} ({words}), and {_gigabytes(available)} is free; {fix}"
    )


def _smaller_network(config: ProbeConfig, sizes: Sequence[int], width_field: str) -> str:
    """What to lower where the weights take most: the option that sets the size of the largest matrices."""
    if config.network is not None:
        return "give a smaller network as `weights`"
    if sizes[0] >= _WIDER * max(sizes[1:]):
        return "lower `input_width`" if config.features else "give an `input` with fewer features"
    if config.widths is not None:
        return "lower `widths`"
    return f"lower `{width_field}`" if len(sizes) < _MANY_LAYERS else f"lower `{width_field}` or `layers`"


def _fewer_samples(config: ProbeConfig, sizes: Sequence[int], batch: int) -> str:
    """What to lower where statistics take most: the option that is furthest above its default."""
    counts: dict[str, float] = {"draws": config.draws / ProbeConfig.model_fields["draws"].default}
    if sample_bytes(config, sizes) * batch * config.batches > DRAW_BYTES * (len(sizes) - 1):
        counts |= {"batches": config.batches, "batch": batch / DEFAULT_BATCH}
    else:
        counts["layers"] = (len(sizes) - 1) / DEFAULT_LAYERS
    return f"lower `{max(counts, key=lambda name: counts[name])}`"


def _smaller_batch(batches: int, batch: int, fits: Callable[[int, int], bool]) -> str:
    """What to lower where activations take most: more batches of fewer samples, where some fit."""
    parted = 10
    while batch // parted >= 2:
        if fits(parted * batches, batch // parted):
            more = f"with `batches` at {parted * batches}, as many samples are measured"
            return f"lower `batch` to {batch // parted}; {more}"
        parted *= 10
    return "lower `batch`"


def _gigabytes(size: int) -> str:
    if size < 5e7:
        return f"{size / 1e6:,.1f} MB"
    return f"{size / 1e9:,.1f} GB" if size < 1e18 else f"{size / 1e9:.1e} GB"
