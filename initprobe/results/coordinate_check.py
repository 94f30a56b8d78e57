"""How the entries of a network grow with its width, before training and over its first steps.

The coordinate check of Yang et al. 2022, arXiv:2203.03466: the rms of a tensor is fitted as `width^slope`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, JsonValue

from initprobe.results.base import SCHEMA_VERSION, Finite, Record, Severity, read_record
from initprobe.results.display import FigureKind, HasFigures, Row, draw_width, print_width
from initprobe.results.summary import Environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from initprobe.reports.console import Console
    from initprobe.reports.figures.look import Look

Quantity = Literal["output", "gradient", "change", "own_change"]
Kind = Literal["layer", "readout", "attention", "stream"]


class WidthLine(Record):
    """One quantity of one layer over the widths.

    Attributes:
        layer: name of the layer, equal at all widths.
        kind: `readout` is the output of the network, `attention` are logits of attention. `stream` is the sum of a
            residual stream and a branch.
        quantity: `output` is h, or z where no activation follows; `gradient` is dL/dh. `change` is h after `step` steps
            minus h before training. `own_change` is the change of z that the layer's own update makes if it is aligned
            with the input: fan_in rms(dW) rms(input); relative to z where a norm takes z.
        step: number of steps of training; 0 before training.
        status: `zero` where every entry is 0 or lost in rounding at some width; `nonfinite` where training diverged.
        rms: root mean square over all entries, by width and then by seed; null where it is not finite.
        slope: of log rms against log width, by least squares; null unless `status` is `ok`.
        slope_se: its standard error, from the spread of the seeds or of the widths about the line, whichever is larger.
        theory: the slope in the limit of infinite width, from the fans, weights, learning rates and input of the layer.
            Null where it is not known.
        judged: the verdict asks that this slope be 0.
    """

    layer: str
    kind: Kind
    quantity: Quantity
    step: Annotated[int, Field(ge=0)]
    status: Literal["ok", "zero", "nonfinite"]
    rms: tuple[tuple[Finite | None, ...], ...]
    slope: Finite | None = None
    slope_se: Finite | None = None
    theory: Finite | None = None
    judged: bool = False


class WidthFinding(Record):
    """One reason why a network does not transfer, or a known exception.

    Attributes:
        rule: its name.
        severity: `error` where the network does not transfer, `warning` where too few seeds decide it, `info` for a
            known exception.
        layers: the layers.
        text: the finding in words.
    """

    rule: str
    severity: Severity
    layers: tuple[str, ...]
    text: str


class CoordinateCheck(Record, HasFigures):
    """What `width` returns.

    Attributes:
        schema_version: version of this layout; `schema` in JSON.
        title: the network in words.
        setting: input, optimizer and seeds in words.
        config: the settings.
        widths: in ascending order.
        seeds: networks per width.
        steps: steps of training.
        optimizer: its name.
        learning_rate: of the optimizer; null where the model brings its own optimizer.
        lines: every quantity of every layer.
        losses: before each step and after the last, averaged over seeds, by width; null where it is not finite.
        transfers: sizes and changes of sizes do not depend on the width; null where the seeds do not decide.
        verdict: the same in words.
        findings: the reasons, most severe first.
        fix: lines that make it transfer; they were tried. Empty for none.
        fix_note: what was tried without success; null if a fix is given or none is needed.
        elapsed_s: duration in seconds.
        environment: versions and machine; null in files of an earlier version.
    """

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    title: str
    setting: str
    config: dict[str, JsonValue]
    widths: tuple[int, ...]
    seeds: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=1)]
    optimizer: str
    learning_rate: Finite | None
    lines: tuple[WidthLine, ...]
    losses: tuple[tuple[Finite | None, ...], ...]
    transfers: bool | None
    verdict: str
    findings: tuple[WidthFinding, ...]
    fix: tuple[str, ...] = ()
    fix_note: str | None = None
    elapsed_s: Annotated[float, Field(ge=0)] = 0.0
    environment: Environment | None = None

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "JSON") -> CoordinateCheck:
        """Read a coordinate check from JSON text.

        Args:
            text: of a file that `initprobe width --export-json` wrote.
            source: the name of the text in errors, such as its file.

        Raises:
            InputError: not JSON, or not a coordinate check of this schema version; names `source` and the field.
        """
        return read_record(cls, text, source)

    def in_a_line(self) -> str:
        """The verdict and the network."""
        return f"{self.verdict}; {self.title}"

    def line(self, layer: str, quantity: Quantity, step: int = 0) -> WidthLine | None:
        """The line of a layer; None if there is none.

        Args:
            layer: its name.
            quantity: what was measured.
            step: number of steps of training.
        """
        wanted = (layer, quantity, step)
        return next((line for line in self.lines if (line.layer, line.quantity, line.step) == wanted), None)

    def _print(self, to: Console) -> None:
        print_width(self, to)

    def _rows(self) -> Iterable[Row]:
        for line in self.lines:
            own = {name: value for name, value in line.model_dump().items() if name != "rms"}
            for width, values in zip(self.widths, line.rms, strict=True):
                for seed, rms in enumerate(values):
                    yield own | {"width": width, "seed": seed, "rms": rms}

    def _draw(self, kind: FigureKind, look: Look) -> Figure:
        return draw_width(self, kind, look)


def is_coordinate_check(values: object) -> bool:
    """Whether a value read from JSON is a coordinate check, by keys that no other result has."""
    return isinstance(values, dict) and values.keys() >= {"widths", "transfers"}
