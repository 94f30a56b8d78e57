"""`ProbeResult`: one experiment, measured. Start reading here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from initprobe.errors import UnknownNameError
from initprobe.registry import suggestion
from initprobe.results.base import SCHEMA_VERSION, TENSORS, Record, Share, read_record
from initprobe.results.display import Display
from initprobe.results.formats import FormatStats
from initprobe.results.layers import LayerStats, ModuleStats, TensorStats
from initprobe.results.step import StepStats
from initprobe.results.summary import (
    Coverage,
    DepthScales,
    Description,
    Environment,
    Finding,
    InputStats,
    LossStats,
    ModelFacts,
    Training,
    TypicalDraw,
)


class ProbeResult(Record, Display):
    """What `initprobe.run` and `initprobe.torch.probe` return: one experiment, measured.

    Attributes:
        schema_version: version of this layout; `schema` in JSON.
        config: the experiment as asked for.
        description: the experiment in words.
        environment: versions and machine.
        elapsed_s: seconds that sampling, propagation, statistics and theory took.
        theory_note: why there is no prediction, in words; null with a prediction.
        depth_scales: number of layers over which signals and gradients change by e; null without a prediction.
        typical: what one draw of this width keeps. Null for a net with a norm or skips, and without a prediction.
        input: the samples; null for a PyTorch model.
        healthy: no finding is above info; this is about initialization only.
        diagnosis: the findings, most severe first.
        layers: the layers, first to last.
        loss: the starting loss; null without a loss.
        step: one step of an optimizer; null where none was asked for.
        training: the network after training; null without training.
        modules: every call of every leaf module of a PyTorch model, in order; empty for a net of `run`.
        notes: further remarks on the measurement.
        coverage: the share of the parameters that was judged; null for a net of `run`, where it is all.
        min_judged: the share below which the verdict holds for a part only.
        facts: what the verdict rests on beside the numbers; null for a net of `run`.
        formats: what small floating-point formats would lose; empty where none was asked for.
    """

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    config: dict[str, JsonValue]
    description: Description
    environment: Environment
    elapsed_s: Annotated[float, Field(ge=0)]
    theory_note: str | None = None
    depth_scales: DepthScales | None = None
    typical: TypicalDraw | None = None
    input: InputStats | None = None
    healthy: bool = True
    diagnosis: tuple[Finding, ...] = ()
    layers: Annotated[tuple[LayerStats, ...], Field(min_length=1)]
    loss: LossStats | None = None
    step: StepStats | None = None
    training: Training | None = None
    modules: tuple[ModuleStats, ...] = ()
    notes: tuple[str, ...] = ()
    coverage: Coverage | None = None
    min_judged: Share = 0.0
    facts: ModelFacts | None = None
    formats: tuple[FormatStats, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _facts_of_old_results(cls, data: object) -> object:
        """Older results have the void parameters of a PyTorch model in `config`."""
        if not isinstance(data, Mapping) or not isinstance(config := data.get("config"), Mapping):
            return data
        if config.get("source") != "torch" or "void" not in config:
            return data
        rest = {name: value for name, value in config.items() if name != "void"}
        return {"facts": {"void": config["void"]}, **data, "config": rest}

    @property
    def is_partial(self) -> bool:
        """Whether too few of the parameters were judged for a verdict on the whole model."""
        return self.coverage is not None and self.coverage.share < self.min_judged

    @property
    def is_of_model(self) -> bool:
        """Whether this is of a PyTorch model."""
        return self.config.get("source") == "torch"

    @property
    def draws(self) -> int:
        """Number of independent networks behind each average."""
        return len(self.layers[0].output.variance_by_draw)

    @property
    def stream(self) -> tuple[LayerStats, ...]:
        """The layers that are not inside residual branches: their h and dL/dh are those of the stream."""
        return tuple(layer for layer in self.layers if not layer.inside_branch)

    @property
    def fed_by_stream(self) -> tuple[LayerStats, ...]:
        """The layers whose input is the stream itself, not an intermediate output of a residual branch."""
        inside = {layer.layer for layer in self.layers if layer.inside_branch}
        return tuple(layer for layer in self.layers if layer.layer - 1 not in inside)

    def series(self, tensor: str, statistic: str = "variance") -> list[float]:
        """A statistic of a tensor per layer: `series("output", "std")`.

        Args:
            tensor: one of `TENSORS`.
            statistic: a number of `TensorStats`, for outputs also `saturated_fraction` and `dead_fraction`.

        Returns:
            One number per layer, NaN where it is null.

        Raises:
            UnknownNameError: there is no such tensor, or it has no such number; a `KeyError` too.
        """
        _check_name("tensor", tensor, TENSORS)
        _check_name(f"statistic of {tensor}", statistic, _numbers_of(self.layers[0].tensor(tensor)))
        values = (getattr(layer.tensor(tensor), statistic) for layer in self.layers)
        return [math.nan if value is None else float(value) for value in values]

    def to_json(self) -> str:
        """This result as JSON text; `from_json` reads it back."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "JSON") -> ProbeResult:
        """Read a result from JSON text.

        Args:
            text: as `to_json` gives it, or a `result.json`.
            source: the name of the text in errors, such as its file.

        Returns:
            The result.

        Raises:
            InputError: not JSON, or not a result of this schema version; names `source` and the field.
        """
        return read_record(cls, text, source)

    def in_a_line(self) -> str:
        """The verdict and the network."""
        counting = (finding for finding in self.diagnosis if finding.severity != "info" and finding.ignored is None)
        worst = next(counting, None)
        verdict = "signal survives" if worst is None else f"{worst.name} from layer {worst.layer}"
        return f"{verdict}; {self.description.title}; {self.description.shape}"


def _check_name(kind: str, name: str, names: Sequence[str]) -> None:
    """Refuse an unknown name, with the nearest known one."""
    if name not in names:
        raise UnknownNameError(f"unknown {kind} {name!r}.{suggestion(name, names)} There are {', '.join(names)}.")


def _numbers_of(stats: TensorStats) -> list[str]:
    """The fields of a tensor's statistics that are one number."""
    lists = {"status", "variance_by_draw", "percentiles", "histogram"}
    return [name for name in type(stats).model_fields if name not in lists]
