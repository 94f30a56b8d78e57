"""The verdict as text: each finding with its evidence, and the fix."""

from __future__ import annotations

from rich.text import Text

from initprobe.formatting import percent, visible
from initprobe.reports.console import Console, say
from initprobe.results.outcome import counted, survives
from initprobe.results.run import ProbeResult
from initprobe.results.summary import Finding

_HEALTHY = "SIGNAL SURVIVES initialization (training is another matter)"
_ALL_IGNORED = "NOTHING NEW: every finding is ignored"
SEVERITY_STYLE = {"error": "bold red", "warning": "bold yellow", "info": "dim"}
_NO_FIX = "none found among common initializers, norms, residual branches and wider layers"


def print_verdict(result: ProbeResult, to: Console) -> int:
    """Print the findings, most severe first, and the fix.

    Args:
        result: of a run.
        to: the console.

    Returns:
        The number of printed lines.
    """
    return say(_verdict(result), to)


def _verdict(result: ProbeResult) -> Text:
    lines = [Text(_healthy(result), "bold yellow" if result.is_partial else "bold green")] if result.healthy else []
    if survives(result) and not result.healthy:
        lines = [Text(_ALL_IGNORED, "bold green")]
    if result.coverage is not None:
        lines.append(Text.assemble((f"{'judged':<10}", "bold"), result.coverage.words))
    for number, finding in enumerate(result.diagnosis):
        if finding.ignored:
            lines.append(_ignored(finding))
            continue
        style = SEVERITY_STYLE[finding.severity]
        name = finding.name.upper() if number == 0 and not result.healthy else finding.name
        heading = f"{finding.severity:<10}{name} from layer {finding.layer}{_module_words(finding)}: "
        lines.append(Text.assemble((visible(heading), style), visible(finding.evidence)))
    fixed = fixed_finding(result)
    if fixed is not None and fixed.fix:
        lines += _not_of_the_first(result, fixed)
        lines += [Text.assemble((f"{name_of_fix(fixed):<10}", "bold"), visible(line)) for line in fixed.fix.split("\n")]
    elif reason := why_no_fix(result):
        lines.append(Text.assemble((f"{'no fix':<10}", "bold"), visible(reason)))
    return Text("\n").join(lines)


def fixed_finding(result: ProbeResult) -> Finding | None:
    """The first finding that counts and has a fix."""
    return next((finding for finding in counted(result) if finding.fix), None)


def name_of_fix(finding: Finding) -> str:
    """The heading of a fix. A net that survives needs none, so it is an option there."""
    return "option" if finding.severity == "info" else "fix"


def _not_of_the_first(result: ProbeResult, fixed: Finding) -> list[Text]:
    """A line where the fix that follows leaves the first finding of a PyTorch model as it is."""
    first = next(iter(counted(result)))
    if not result.is_of_model or fixed.rule == first.rule or not first.no_fix:
        return []
    words = f"for {first.name}: {first.no_fix}; the next lines are for {fixed.name}"
    return [Text.assemble((f"{'no fix':<10}", "bold"), visible(words))]


def why_no_fix(result: ProbeResult) -> str | None:
    """Why no fix is printed; None where none is needed, and for a model where nothing is known."""
    none = None if survives(result) or result.is_of_model else _NO_FIX
    return next((item.no_fix for item in result.diagnosis if item.no_fix and item.severity != "info"), none)


def _healthy(result: ProbeResult) -> str:
    """The verdict of a healthy net, or of its judged part where that is too small."""
    if not result.is_partial or result.coverage is None:
        return _HEALTHY
    return f"SIGNAL SURVIVES in the {percent(result.coverage.share)}% that was judged"


def _ignored(finding: Finding) -> Text:
    """A finding that does not count, with the reason."""
    until = f"; until {finding.ignored.until}" if finding.ignored and finding.ignored.until else ""
    heading = f"{'ignored':<10}{finding.name} from layer {finding.layer}{_module_words(finding)}: "
    reason = f" ({finding.ignored.reason}{until})" if finding.ignored else ""
    return Text.assemble((visible(heading), "dim"), visible(finding.evidence), (visible(reason), "dim"))


def _module_words(finding: Finding) -> str:
    return f" ({finding.module})" if finding.module else ""
