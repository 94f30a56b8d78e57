"""A page from its template, with its own content security policy."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from initprobe.formatting import visible
from initprobe.reports.glossary import WORDS
from initprobe.reports.json_names import json_names, spectrum_names

_SCRIPTS = ("uPlot.iife.min.js", "parts.js", "charts.js", "runs.js", "diff.js", "page.js")
_STYLES = ("uPlot.min.css", "report.css")


def page(template: str, data: Mapping[str, Any], **context: Any) -> str:
    """A page as HTML text.

    Args:
        template: its name in `html/templates`, without the ending.
        data: what the scripts draw; it is written as JSON, so every number is exact.
        context: the names that the template uses.
    """
    script, style = _assets(_SCRIPTS), _assets(_STYLES)
    return (
        _templates()
        .get_template(f"{template}.html.j2")
        .render(data=_json(data), script=Markup(script), style=Markup(style), policy=_policy(script, style), **context)
    )


def meaning(json_name: str) -> str:
    """What a number of JSON is: from the glossary, else from its record; an empty text for neither."""
    return _glossary().get(json_name) or ": ".join(json_names().get(json_name, ()))


def spectrum_meaning(name: str) -> str:
    """What a number of a spectrum is."""
    return ": ".join(spectrum_names().get(name, ()))


@cache
def _glossary() -> Mapping[str, str]:
    return {word.json: word.meaning for word in WORDS.values() if word.json}


@cache
def _templates() -> Environment:
    loader = PackageLoader("initprobe.reports", "html/templates")
    settings: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "finalize": _shown}
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, **settings)


def _shown(value: Any) -> Any:
    """Every text of a template with escapes for characters that cannot be seen; our own markup stays."""
    return visible(value, breaks=True) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _assets(names: tuple[str, ...]) -> str:
    folder = files("initprobe.reports") / "html" / "assets"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _policy(script: str, style: str) -> str:
    """Only this script and this style; no network, no frames, no forms."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(data: Mapping[str, Any]) -> Markup:
    """JSON that cannot end the element that holds it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
