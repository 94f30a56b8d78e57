"""What the verdict says of planted bugs and of faulty nets: `python tests/zoo/planted_run.py [WORD]`."""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from planted import BUGS, FAULTY, Bug
from torch import nn
from zoo_published import publish

from initprobe.torch import probe


@dataclass(frozen=True)
class Outcome:
    """The outcome for one planted bug.

    Attributes:
        located: a finding above info names its place.
        caused: a finding above info is one of its rules.
        healed: the line that was printed leaves nothing above info; None without a line.
        words: the findings, and the outcome of the fix.
    """

    located: bool
    caused: bool
    healed: bool | None
    words: str


def alarms(result: Any) -> list[Any]:
    """Findings above info."""
    return [finding for finding in result.diagnosis if finding.severity != "info"]


def examine(bug: Bug, seed: int = 0) -> Outcome:
    """Probe, look for the place and the cause, run the fix, probe again."""
    torch.manual_seed(seed)
    model, x = bug.make()
    findings = alarms(probe(model, x, threads=1, **bug.options))
    words = [f"{finding.severity} {finding.rule} {finding.module}: {finding.evidence}" for finding in findings]
    right = [finding for finding in findings if finding.rule in bug.rules]
    located = any(not bug.modules or _place(finding.module) in bug.modules for finding in right or findings)
    healed, after = _healed(bug, model, x, next((finding.fix for finding in right or findings if finding.fix), None))
    return Outcome(located, bool(right), healed, "\n".join([*words, *after]))


def _place(module: str | None) -> str:
    """Without the number of the call, and without the parameter's own name."""
    return (module or "").partition("#")[0]


def _healed(bug: Bug, model: Any, x: Any, fix: str | None) -> tuple[bool | None, list[str]]:
    if fix is None:
        return None, ["no fix"]
    held = {"model": model, "torch": torch, "nn": nn, "x": x}
    try:
        exec(fix, held)
    except Exception as error:  # a line that cannot be run heals nothing
        return False, [f"fix: {fix}", f"fix fails: {error!r}"]
    again = probe(held["model"], held["x"], threads=1, **bug.options)
    left = [
        f"left: {finding.severity} {finding.rule} {finding.module}: {finding.evidence}" for finding in alarms(again)
    ]
    return not left, [f"fix: {fix}", *left]


def main(word: str = "") -> None:
    """Examine every bug and every faulty net whose name holds the word; without a word, publish the counts."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    outcomes = [_outcome_of(bug) for bug in BUGS if word in bug.name]
    named = sum(outcome.located and outcome.caused for outcome in outcomes)
    fixes, worked = (sum(outcome.healed in values for outcome in outcomes) for values in ((True, False), (True,)))
    print(f"{len(outcomes)} bugs: {named} with layer and cause, {worked} of {fixes} fixes work")
    findings = {name: _faults_of(name) for name in FAULTY if word in name}
    if not word:
        bugs = {"bugs": len(outcomes), "named": named, "fixes": fixes, "worked": worked}
        publish("planted", bugs | {"faulty": len(findings), "found": sum(map(bool, findings.values()))})


def _faults_of(name: str) -> list[str]:
    torch.manual_seed(0)
    faults = [
        f"{finding.severity} {finding.rule} {finding.module}" for finding in alarms(probe(*FAULTY[name](), threads=1))
    ]
    print(f"{'found ' if faults else 'MISSED'} {name}: {', '.join(faults)}", flush=True)
    return faults


def _outcome_of(bug: Bug) -> Outcome:
    started = time.perf_counter()
    try:
        outcome = examine(bug)
    except Exception as error:
        outcome = Outcome(False, False, None, f"{type(error).__name__}: {error}")
    marks = f"located {outcome.located!s:5} caused {outcome.caused!s:5} healed {outcome.healed!s:5}"
    print(f"{marks} {time.perf_counter() - started:5.1f} s  {bug.name}")
    print("\n".join(f"      {line}" for line in outcome.words.splitlines()), flush=True)
    return outcome


if __name__ == "__main__":
    main(*sys.argv[1:2])
