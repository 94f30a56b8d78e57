"""The shape of the net that weights are recommended for."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Literal

from initprobe.config.probe_config import DEFAULT_WIDTH
from initprobe.errors import ConfigError
from initprobe.formatting import shown

# Theory is evaluated at many depths and gains first; that takes some seconds for so many layers.
MOST_LAYERS = 10_000


@dataclass(frozen=True)
class Shape:
    """The shape of a network, in any of the ways to give it.

    Attributes:
        layers: number of layers; None for that of `widths`, or 1 beside `fan_in`.
        width: units per layer.
        widths: units of each layer, instead of `layers` and `width`.
        fan_in: inputs of a single layer, whose weights are wanted in a network of `layers` layers.
        fan_out: units of that layer; None for `fan_in`.
        norm: `none`, `layer` or `batch`.
        residual: whether branches are added to their input.
    """

    layers: int | None = None
    width: int = DEFAULT_WIDTH
    widths: tuple[int, ...] | None = None
    fan_in: int | None = None
    fan_out: int | None = None
    norm: Literal["none", "layer", "batch"] = "none"
    residual: bool = False

    def __post_init__(self) -> None:
        if self.fan_out is not None and self.fan_in is None:
            raise ConfigError("needs `fan_in` too", field="fan_out")
        if self.fan_in is not None and (self.widths is not None or self.norm != "none" or self.residual):
            raise ConfigError("is for a single plain layer; drop `widths`, `norm` and `residual`", field="fan_in")
        if self.widths is not None and self.layers not in (None, len(self.widths)):
            raise ConfigError(f"is {self.layers}, but `widths` has {len(self.widths)}; drop `layers`", field="layers")
        if self.layers is None and self.widths is None and self.fan_in is None:
            raise ConfigError("is missing; give `layers`, `widths` or `fan_in`", field="layers")
        if self.depth > MOST_LAYERS:
            text = f"must be at most {MOST_LAYERS:,} here, not {shown(self.depth)}; ask for fewer layers"
            raise ConfigError(text, field="layers")

    @property
    def depth(self) -> int:
        """Number of layers of the network."""
        return self.layers if self.layers is not None else len(self.widths or (1,))

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a config."""
        around = {"norm": self.norm, "residual": self.residual}
        if self.fan_in is not None and self.fan_out in (None, self.fan_in):
            return {"layers": self.depth, "width": self.fan_in}
        if self.fan_in is not None:
            return {"widths": (self.fan_out,), "input_width": self.fan_in}
        if self.widths is not None:
            return {"widths": self.widths, **around}
        # A width left at its default does not appear in the command line.
        return {"layers": self.layers, "width": None if self.width == DEFAULT_WIDTH else self.width, **around}

    def command(self, act: str) -> str:
        """The `initprobe recommend` line that asks for this shape."""
        sizes: list[tuple[str, object]] = [
            ("layers", self.layers),
            ("width", None if self.width == DEFAULT_WIDTH else self.width),
        ]
        if self.widths is not None:
            sizes = [("widths", ",".join(map(str, self.widths)))]
        given: list[tuple[str, object]] = [("act", act), *sizes, ("norm", None if self.norm == "none" else self.norm)]
        words = [word for name, value in given if value is not None for word in (f"--{name}", str(value))]
        return shlex.join(["initprobe", "recommend", *words, *(["--residual"] if self.residual else [])])
