"""`Experiment`: a config with its data read, its sizes settled, its memory checked; and the rows it feeds a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from initprobe.arrays import Array, standard_normal
from initprobe.blocks.skips import Wiring, branches, wirings
from initprobe.config.consistency import check_fit_samples
from initprobe.config.probe_config import DEFAULT_BATCH, ProbeConfig
from initprobe.config.resolved import check_resolved
from initprobe.data.datasets import Dataset
from initprobe.data.tables import read_labels, read_table, standardized
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.threads import Workers
from initprobe.errors import ConfigError
from initprobe.initializers.own import OwnInitializer
from initprobe.probe.memory import check_layers, check_memory
from initprobe.probe.objective import Task, task_of

# Rows of noise that share a random stream; part of a seed's meaning.
_STREAM_ROWS = 256


@dataclass(frozen=True)
class Experiment:
    """A config with its data read and its sizes settled.

    Attributes:
        config: what was asked for.
        table: real input, `(batch * batches, features)`, or None for noise.
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
        task: what a loss is taken of; None without one.
        learned: what surrounds the activations after training; None for what the config says.
    """

    config: ProbeConfig
    table: Array | None
    sizes: tuple[int, ...]
    batch: int
    task: Task | None = None
    learned: tuple[Wiring, ...] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the network."""
        return np.dtype(self.config.dtype)

    @cached_property
    def wirings(self) -> Sequence[Wiring]:
        """What surrounds the activation of each layer."""
        return self.learned or wirings(self.config, self.sizes)

    @property
    def fans(self) -> list[tuple[int, int]]:
        """`(fan_in, fan_out)` of each layer."""
        return list(zip(self.sizes, self.sizes[1:], strict=False))


def prepare(config: ProbeConfig) -> Experiment:
    """Read the data and settle the sizes.

    Raises:
        InputError: the data cannot be used.
        ConfigError: the data does not fit the shape asked for.
        MemoryLimitError: the run would not fit in memory.
    """
    config = check_resolved(config)
    check_layers(config.depth)
    table = _read_input(config)
    features = config.features or config.layer_widths[0] if table is None else table.shape[1]
    if config.network is not None and features != config.network.sizes[0]:
        whose = "x" if config.input == config.weights else str(config.input)
        takes = f"{config.network.layers[0].name} takes {config.network.sizes[0]}"
        raise ConfigError(f"{config.weights}: {takes}, but {whose} has {features} features; give --input such data")
    if config.input_width not in (None, features):
        raise ConfigError(
            f"input_width is {config.input_width}, but {config.input} has {features} features; drop input_width"
        )
    batch = config.batch or (DEFAULT_BATCH if table is None else len(table) // config.batches)
    sizes = (features, *config.layer_widths)
    if config.initializer.distribution.name == "identity" and len(set(sizes)) > 1:
        raise ConfigError(
            "init: identity needs every layer square; make input_width and widths equal, or use orthogonal"
        )
    if config.residual and not branches(sizes, config.block):
        whole = "layer" if config.block == 1 else f"block of {config.block} layers"
        raise ConfigError(f"residual: no {whole} is as wide as what it is given, so none has a skip; repeat a width")
    check_fit_samples(config.initializer, batch)
    _try_own(config, sizes)
    check_memory(config, sizes, batch, 0 if table is None else table.nbytes)
    chosen = _chosen_rows(config, table, batch)
    return Experiment(
        config, _rows_of(table, chosen), sizes, batch, task_of(config, _read_labels(config, table, chosen))
    )


def _try_own(config: ProbeConfig, sizes: Sequence[int]) -> None:
    """Draw weights of every size with an initializer of one's own, so that it complains before any work is done."""
    if isinstance(config.initializer, OwnInitializer):
        for fans in dict.fromkeys(pairwise(sizes)):
            config.initializer.law(*fans)


def _rows_of(table: Array | None, chosen: Array | None) -> Array | None:
    return table if table is None or chosen is None else np.ascontiguousarray(table[chosen])


def _read_labels(config: ProbeConfig, table: Array | None, chosen: Array | None) -> Array | None:
    """The labels of the chosen rows; None where there is no file of them."""
    source = config.labels_source
    if source is None or table is None or config.objective is None:
        return None
    name, labels = _labels_in(source, len(table))
    if config.classes is not None and labels.max() >= config.classes:
        raise ConfigError(f"classes is {config.classes}, but {name} has a class {labels.max()}; drop classes")
    if labels.max() == 0:
        raise ConfigError(f"{name}: has a single class; a loss needs two or more")
    return labels if chosen is None else labels[chosen]


def _labels_in(source: Dataset | Path, rows: int) -> tuple[str, Array]:
    """The name of what holds them, and the labels."""
    if isinstance(source, Dataset):
        return source.name, source.classes().astype(np.int64)
    return str(source), read_labels(source, rows)


def _read_input(config: ProbeConfig) -> Array | None:
    if config.dataset is not None:
        table = config.dataset.table().astype(config.dtype)
    elif isinstance(config.input, Path):
        table = read_table(config.input, config.dtype)
    else:
        return None
    return standardized(table) if config.standardize else table


def _chosen_rows(config: ProbeConfig, table: Array | None, batch: int) -> Array | None:
    """The rows that the batches take, drawn without replacement and kept in order; None for all there are."""
    if table is None:
        return None
    wanted = batch * config.batches
    if wanted > len(table) or batch < 2:
        raise ConfigError(
            f"{config.input} has {len(table)} rows, not the {max(batch, 2)} x {config.batches} "
            "that batch x batches takes; lower one"
        )
    if wanted == len(table):
        return None
    order = Streams(config.seed, 0).generator(Purpose.ROWS).permutation(len(table))
    return np.asarray(np.sort(order[:wanted]))


def _noise_rows(
    sample: Callable[[np.random.Generator, tuple[int, int]], Array],
    streams: Streams,
    purpose: Purpose,
    start: int,
    stop: int,
    pool: Workers,
) -> Array:
    """Rows `start` to `stop` of an endless table of noise, whose rows do not depend on how it is cut into batches."""
    first = start - start % _STREAM_ROWS

    def fill(row: int) -> Array:
        """All rows of a stream: those that are wanted depend on how many are made."""
        return sample(streams.generator(purpose, block=row), (_STREAM_ROWS, 0))

    return np.concatenate(pool.map(fill, range(first, stop, _STREAM_ROWS)))[start - first : stop - first]


def input_rows(experiment: Experiment, streams: Streams, start: int, stop: int, pool: Workers) -> Array:
    """Input rows `start` to `stop`, `(stop - start, features)`: of the file, or of this network's noise."""
    noise, features = experiment.config.noise, experiment.sizes[0]
    if noise is None:
        assert experiment.table is not None
        return experiment.table[start:stop]
    shared = streams.generator(Purpose.SHARED_INPUT).standard_normal(features)
    make, dtype = noise.sample, experiment.dtype
    return _noise_rows(
        lambda rng, shape: make(rng, (shape[0], features), dtype, shared), streams, Purpose.INPUT, start, stop, pool
    )


def _saved_gradient(experiment: Experiment) -> Array | None:
    """The start of the backward pass that was saved with the input, if every row of that is used."""
    config = experiment.config
    gradient = None if config.network is None or config.input != config.weights else config.network.gradient
    return gradient if gradient is not None and len(gradient) == experiment.batch * config.batches else None


def seed_gradient(experiment: Experiment, streams: Streams, start: int, stop: int, pool: Workers) -> Array:
    """dL/dh_L of rows `start` to `stop`: N(0, 1), independent of the forward pass; the saved one of a saved input."""
    if (saved := _saved_gradient(experiment)) is not None:
        return saved[start:stop].astype(experiment.dtype)
    units, dtype = experiment.sizes[-1], experiment.config.dtype
    return _noise_rows(
        lambda rng, shape: standard_normal(rng, (shape[0], units), dtype),
        streams,
        Purpose.GRADIENT,
        start,
        stop,
        pool,
    )
