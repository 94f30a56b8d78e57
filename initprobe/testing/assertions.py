"""Assertions for the tests of your own PyTorch model. Start reading in `assert_healthy`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initprobe.contract.judge import Report
    from initprobe.contract.parameter import Parameter
    from initprobe.results.run import ProbeResult
    from initprobe.results.summary import Finding
    from initprobe.sweeps.ignores import Ignore

Reason = str | tuple[str, str]


def assert_healthy(
    model: Any,
    x: Any,
    allow: Collection[str] = (),
    *,
    ignore: Mapping[str, Reason] | None = None,
    known: str | Path | None = None,
    **options: Any,
) -> ProbeResult:
    """Fail unless the signal and its gradient survive in a PyTorch model, as `initprobe.torch.probe` judges it.

    Args:
        model: any `torch.nn.Module`; it is not changed.
        x: the input it is called with.
        allow: rules that may be broken: `("dead-units",)`. Findings of severity info, such as `rank-collapse`, never
            fail.
        ignore: findings that do not count, each with the reason and perhaps a last day:
            `{"saturated@3": "by design", "dead-units@encoder.*": ("narrow on purpose", "2027-03-01")}`.
        known: a file of known findings, as `initprobe torch --write-known FILE` writes it.
        options: further arguments of `initprobe.torch.probe`.

    Returns:
        The result. Ignored findings have their reason, and `notes` names the members of `ignore` that match nothing.

    Raises:
        AssertionError: there is a finding above info, too little was judged, or the last day of an ignore is over. The
            message has the finding and the table.
        ConfigError: `allow` or `ignore` names an unknown rule, a reason is missing, or the file is wrong.
    """
    __tracebackhide__ = True  # pytest shows the line of the test, not this function
    from initprobe.sweeps.ignores import apply, expired, living
    from initprobe.torch import probe
    from initprobe.torch.verdict.rulebook import RULEBOOK

    allowed = {RULEBOOK[name].name for name in ((allow,) if isinstance(allow, str) else allow)}
    from_argument = _ignores(ignore or {})
    ignores = from_argument + _known(known)
    result, used = apply(probe(model, x, **options), ignores, options.get("thresholds"))
    if faults := [*_finding_lines(result, allowed), *expired(ignores), *_too_little(result)]:
        raise AssertionError("\n".join([*faults, "", result.table()]))
    idle = [each.source for each in living(from_argument) if each not in used]
    notes = tuple(f"{source}: matches nothing; drop it" for source in idle)
    return result.model_copy(update={"notes": result.notes + notes})


def faults_of(result: ProbeResult) -> list[str]:
    """Why a result is not healthy: a line for each finding above info, and one if too little was judged."""
    return [*_finding_lines(result, ()), *_too_little(result)]


def _finding_lines(result: ProbeResult, allowed: Collection[str]) -> list[str]:
    from initprobe.results.outcome import counted

    findings = [each for each in counted(result) if each.severity != "info" and each.rule not in allowed]
    return list(map(_line, findings))


def _ignores(ignore: Mapping[str, Reason]) -> list[Ignore]:
    from initprobe.sweeps.ignores import make_ignore, parse_target

    parts = {text: (given, None) if isinstance(given, str) else given for text, given in ignore.items()}
    return [
        make_ignore(*parse_target(text), reason, until, f"ignore {text!r}") for text, (reason, until) in parts.items()
    ]


def _known(path: str | Path | None) -> list[Ignore]:
    if path is None:
        return []
    from initprobe.sweeps.known_findings import read_known

    return read_known(Path(path))


def _too_little(result: ProbeResult) -> list[str]:
    return [f"too little was judged: {result.coverage.words}"] if result.is_partial and result.coverage else []


def _line(finding: Finding) -> str:
    where = f"layer {finding.layer}" + (f" ({finding.module})" if finding.module else "")
    fix = f"\n  fix: {finding.fix}" if finding.fix else ""
    return f"{finding.name} from {where}: {finding.evidence}{fix}"


def assert_init(
    model: Any, rules: Mapping[str, str], default: str | None = None, *, optional: Mapping[str, str] | None = None
) -> Report:
    """Fail unless every parameter of a PyTorch model is initialized by the rule that you state.

    Args:
        model: any `torch.nn.Module`; it is not changed.
        rules: patterns of parameter names and their rules: `{"*.c_proj.weight": "normal:std=0.02/sqrt(24)",
            "*norm*.weight": "ones"}`. The most specific pattern wins. `any` leaves a parameter unjudged.
        default: the rule of parameters that no pattern covers; None makes such a parameter an error.
        optional: as `rules`, of patterns that may match no parameter of this model.

    Returns:
        The rule and the measurement of each parameter; `copies` lists ties, clones and draws from equal seeds.

    Raises:
        AssertionError: a parameter deviates from its rule; one line per group of alike parameters says how far. A
            correct model fails in at most 1 of 100 draws, over all its parameters together.
        ConfigError: a pattern matches no parameter, a parameter has no rule, or a rule does not exist.
    """
    __tracebackhide__ = True
    from initprobe.contract.faults import fault_groups
    from initprobe.contract.words import group_line
    from initprobe.errors import ConfigError

    try:
        report, parameters = _judged(model, rules, default, optional)
    except ConfigError as error:
        raise error.with_traceback(None) from None  # the line of the test is shown, not the lines of this package
    if report.faults:
        raise AssertionError("\n".join([str(report), *map(group_line, fault_groups(report, parameters))]))
    return report


def _judged(
    model: Any, rules: Mapping[str, str], default: str | None, optional: Mapping[str, str] | None
) -> tuple[Report, list[Parameter]]:
    from initprobe.contract.judge import judge
    from initprobe.contract.patterns import read_clauses
    from initprobe.contract.rules import read_rule
    from initprobe.torch.values import parameters_of

    clauses = read_clauses(rules, optional)
    fallback = None if default is None else read_rule(default)
    parameters = parameters_of(model)
    return judge(parameters, clauses, fallback), parameters
