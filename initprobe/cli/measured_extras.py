"""`--formats` and `--optimizer`, which `run` and `torch` have."""

from __future__ import annotations

from typing import Any

from initprobe.cli.parameters import Choice, option


def formats_option() -> Any:
    """`--formats`, which `run` and `torch` have."""
    return option(
        "--formats",
        metavar="NAME,...",
        help="Count what each tensor would lose in float16, bfloat16, float8_e4m3fn or float8_e5m2. The "
        "loss scale that saves the gradient is named too.",
    )


def formats_of(given: str | None) -> tuple[str, ...]:
    """The names that `--formats` gives, checked."""
    from initprobe.engine.number_formats import format_names
    from initprobe.errors import at_field

    with at_field("--formats"):
        return format_names(given or ())


def optimizer_option() -> Any:
    """`--optimizer`, which `run` and `torch` have."""
    return option(
        "--optimizer",
        type=Choice(["sgd", "adam", "adamw"]),
        help="Report how far one step moves each layer, and for sgd the largest curvature of the loss.",
    )
