"""For tests of somebody's own model: `assert_healthy(model, x)` fails with the table and the finding."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initprobe.results import Finding, ProbeResult


def assert_healthy(model: Any, x: Any, allow: Collection[str] = (), **options: Any) -> ProbeResult:
    """Fail unless the signal and its gradient survive in a PyTorch model, as `initprobe.torch.probe` sees them.

    Args:
        model: any `torch.nn.Module`; left exactly as found.
        x: what it is called with.
        allow: rules that may be broken: `("dead-units",)`. What is only info, as `rank-collapse` is, never fails.
        options: further arguments of `initprobe.torch.probe`.

    Returns:
        What was measured.

    Raises:
        AssertionError: something above info was found, or too little was judged; the message is the finding and the
            table.
        UnknownNameError: `allow` names no rule.
    """
    __tracebackhide__ = True  # pytest shows the line of the test, not this one
    from initprobe.rulebook import RULEBOOK
    from initprobe.torch import probe

    allowed = {RULEBOOK[name].name for name in ((allow,) if isinstance(allow, str) else allow)}
    result = probe(model, x, **options)
    found = [one for one in result.diagnosis if one.severity != "info" and one.rule not in allowed]
    said = [*map(_words, found), *([_partly(result)] if result.is_partial else [])]
    if said:
        raise AssertionError("\n".join([*said, "", result.table()]))
    return result


def _partly(result: ProbeResult) -> str:
    return f"too little was judged: {result.coverage.words if result.coverage else 0}"


def _words(finding: Finding) -> str:
    where = f"layer {finding.layer}" + (f" ({finding.module})" if finding.module else "")
    fix = f"\n  fix: {finding.fix}" if finding.fix else ""
    return f"{finding.name} from {where}: {finding.evidence}{fix}"
