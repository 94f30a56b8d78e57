"""`prepare` makes a config an `Experiment`: data read, sizes known, memory checked. And the rows of its batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from initprobe.activations.skips import Wiring, branches, wirings
from initprobe.arrays import Array, standard_normal
from initprobe.config.consistency import check_fit_samples
from initprobe.config.probe_config import DEFAULT_BATCH, ProbeConfig, require_config
from initprobe.config.resolved import check_resolved
from initprobe.data.datasets import Dataset
from initprobe.data.tables import read_labels, read_table, standardized
from initprobe.engine.streams import Purpose, Streams
from initprobe.engine.threads import Workers
from initprobe.errors import ConfigError
from initprobe.initializers.own import OwnInitializer
from initprobe.probe.buffers import Dimensions
from initprobe.probe.memory import check_layers, check_memory
from initprobe.probe.objective import Task, task_of

# Rows of noise that share a random stream. Never change it: the numbers of every seed depend on it.
_STREAM_ROWS = 256


@dataclass(frozen=True)
class Experiment:
    """A config whose data has been read and whose sizes are known.

    Attributes:
        config: the settings.
        table: real input, `(batch * batches, features)`, or None for noise.
        sizes: features of the input, then units of each layer.
        batch: samples in a batch.
        task: what the loss measures; None without a loss.
    """

    config: ProbeConfig
    table: Array | None
    sizes: tuple[int, ...]
    batch: int
    task: Task | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the network."""
        return np.dtype(self.config.dtype)

    @cached_property
    def wirings(self) -> Sequence[Wiring]:
        """What surrounds the activation of each layer."""
        return wirings(self.config, self.sizes)

    @property
    def dimensions(self) -> Dimensions:
        """The sizes of a batch, for what needs no more of the experiment."""
        return Dimensions(self.sizes, self.batch, self.dtype)

    @property
    def fans(self) -> list[tuple[int, int]]:
        """`(fan_in, fan_out)` of each layer."""
        return self.dimensions.fans


def prepare(config: ProbeConfig, width_field: str = "width") -> Experiment:
    """Read the data of a config, find the sizes of its network, and check both.

    Args:
        config: the settings.
        width_field: the argument that sets the width of all layers, for errors.

    Returns:
        The experiment, ready to be measured.

    Raises:
        InputError: the data cannot be used.
        ConfigError: the data does not fit the sizes in the config.
        MemoryLimitError: the run would not fit in memory.
    """
    require_config(config)
    config = check_resolved(config)
    check_layers(config.depth)
    table = _read_input(config)
    features = _features(config, table)
    batch = config.batch or (DEFAULT_BATCH if table is None else len(table) // config.batches)
    sizes = (features, *config.layer_widths)
    _check_sizes(config, sizes)
    check_fit_samples(config.initializer, batch)
    _try_own(config, sizes)
    check_memory(config, sizes, batch, 0 if table is None else table.nbytes, width_field)
    chosen = _chosen_rows(config, table, batch)
    task = task_of(config, _read_labels(config, table, chosen))
    return Experiment(config, _rows_of(table, chosen), sizes, batch, task)


def _features(config: ProbeConfig, table: Array | None) -> int:
    """Features of the input, which must be as many as the network takes."""
    features = config.nominal_sizes[0] if table is None else table.shape[1]
    if config.network is not None and features != config.network.sizes[0]:
        source = "x" if config.input == config.weights else str(config.input)
        takes = f"{config.network.layers[0].name} takes {config.network.sizes[0]}"
        raise ConfigError(f"{takes}, but {source} has {features} features; give such data", file=str(config.weights))
    if config.input_width not in (None, features):
        raise ConfigError(
            f"is {config.input_width}, but {config.input} has {features} features; drop it", field="input_width"
        )
    return features


def _check_sizes(config: ProbeConfig, sizes: Sequence[int]) -> None:
    """Make sure that the initializer and the skips can be used with these sizes."""
    if config.initializer.distribution.name == "identity" and len(set(sizes)) > 1:
        way_out = "make `input_width` and `widths` equal, or use orthogonal"
        raise ConfigError(f"identity needs square layers; {way_out}", field="init")
    if config.residual and not branches(sizes, config.block):
        whole = "layer" if config.block == 1 else f"block of {config.block} layers"
        raise ConfigError(f"no {whole} is as wide as its input, so none has a skip; repeat a width", field="residual")


def _try_own(config: ProbeConfig, sizes: Sequence[int]) -> None:
    """Draw weights of every size with an initializer of the user's own, so that its errors come before any work."""
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
        raise ConfigError(f"is {config.classes}, but {name} has a class {labels.max()}; drop it", field="classes")
    if labels.max() == 0:
        raise ConfigError("has a single class; a loss needs two or more", file=name)
    return labels if chosen is None else labels[chosen]


def _labels_in(source: Dataset | Path, rows: int) -> tuple[str, Array]:
    """The name of the source, and the labels."""
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
    """The rows for the batches, drawn without replacement and kept in order; None for all rows."""
    if table is None:
        return None
    wanted = batch * config.batches
    if wanted > len(table) or batch < 2:
        raise ConfigError(
            f"`batch` x `batches` is {max(batch, 2)} x {config.batches}, but {config.input} has {len(table)} rows; "
            "lower one of the two"
        )
    if wanted == len(table):
        return None
    order = Streams(config.seed, 0).generator(Purpose.ROWS).permutation(len(table))
    return np.asarray(np.sort(order[:wanted]))


def _noise_rows(
    sample: Callable[[np.random.Generator, int], Array],
    stream: Callable[[int], np.random.Generator],
    rows: range,
    pool: Workers,
) -> Array:
    """Some rows of an endless table of noise, which do not depend on how the table is cut into batches.

    Args:
        sample: makes so many rows from a random stream.
        stream: the random stream of the block that begins at a row.
        rows: consecutive rows.
        pool: the threads.
    """
    first = rows.start - rows.start % _STREAM_ROWS

    def fill(row: int) -> Array:
        """Always all rows of a stream: the numbers depend on how many are made."""
        return sample(stream(row), _STREAM_ROWS)

    blocks = pool.map(fill, range(first, rows.stop, _STREAM_ROWS))
    return np.concatenate(blocks)[rows.start - first : rows.stop - first]


def input_rows(experiment: Experiment, streams: Streams, start: int, stop: int, pool: Workers) -> Array:
    """Rows of the input: of the file, or of the noise of this network.

    Args:
        experiment: the table or the noise.
        streams: the random streams of the network.
        start: the first row.
        stop: one more than the last row.
        pool: the threads.

    Returns:
        The rows, `(stop - start, features)`.
    """
    noise, features = experiment.config.noise, experiment.sizes[0]
    if noise is None:
        assert experiment.table is not None
        return experiment.table[start:stop]
    shared = streams.generator(Purpose.SHARED_INPUT).standard_normal(features)
    make, dtype = noise.sample, experiment.dtype
    return _noise_rows(
        lambda rng, rows: make(rng, (rows, features), dtype, shared),
        partial(streams.generator, Purpose.INPUT, 0),
        range(start, stop),
        pool,
    )


def _saved_gradient(experiment: Experiment) -> Array | None:
    """The start of the backward pass that was saved with the input. None unless every row of the input is used."""
    config = experiment.config
    gradient = None if config.network is None or config.input != config.weights else config.network.gradient
    return gradient if gradient is not None and len(gradient) == experiment.batch * config.batches else None


def seed_gradient(experiment: Experiment, streams: Streams, start: int, stop: int, pool: Workers) -> Array:
    """The start of the backward pass: dL/dh of the last layer.

    It is `N(0, 1)` and independent of the forward pass; of a saved input it is the saved gradient.

    Args:
        experiment: the sizes.
        streams: the random streams of the network.
        start: the first row.
        stop: one more than the last row.
        pool: the threads.

    Returns:
        The rows, `(stop - start, units of the last layer)`.
    """
    if (saved := _saved_gradient(experiment)) is not None:
        return saved[start:stop].astype(experiment.dtype)
    units, dtype = experiment.sizes[-1], experiment.dtype
    return _noise_rows(
        lambda rng, rows: standard_normal(rng, (rows, units), dtype),
        partial(streams.generator, Purpose.GRADIENT, 0),
        range(start, stop),
        pool,
    )
