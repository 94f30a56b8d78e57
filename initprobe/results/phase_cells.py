"""A phase diagram in JSON, as `initprobe phase --export-json` writes it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from initprobe.results.base import Finite, Record

Cells = tuple[tuple[Finite | None, ...], ...]


class PhaseCells(Record):
    """The fixed points over a grid of scales. There is a row per value of sigma_b, and a column per value of sigma_w.

    Attributes:
        schema_version: version of this layout; `schema` in JSON.
        activation, sigma_w, sigma_b, settling, q, slope, chi_1, correlation, xi_q, xi_c, xi_gradient: as in
            `PhaseDiagram`; null where a number is infinite or does not exist.
    """

    schema_version: Literal[1] = Field(alias="schema")
    activation: str
    sigma_w: tuple[Finite, ...]
    sigma_b: tuple[Finite, ...]
    settling: tuple[tuple[Literal["converges", "vanishes", "diverges"], ...], ...]
    q: Cells
    slope: Cells
    chi_1: Cells
    correlation: Cells
    xi_q: Cells
    xi_c: Cells
    xi_gradient: Cells
