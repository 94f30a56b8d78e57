"""What the verdict says of each network of the zoo: `python tests/zoo/zoo_run.py [--only WORD,...] [--part 1/4]`.

A network is probed in a process of its own, so that its memory is its own. It is forked from a process that holds the
libraries.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import torch
from zoo_entry import Entry
from zoo_published import publish, table

LIBRARIES = ("torchvision", "timm", "transformers", "diffusers")
HOMES = ("zoo_hand", "zoo_torchvision", "zoo_timm", "zoo_transformers")
RANK = {"healthy": 0, "info": 1, "warning": 2, "error": 3}
COPIES = "copied-layers"
MAX_FAULTS = 3  # words of this many findings are kept


@dataclass
class Report:
    """The outcome for one network.

    Attributes:
        name: of the network.
        source: its library.
        verdict: the highest severity, or `refused`.
        rules: those broken, with the module and the evidence, most severe first.
        judged: share of the parameters that was judged, if that is known.
        seconds: of the probe.
        plain_seconds: of the passes alone.
        peak_mb: memory of the probe above that of the passes alone.
        fault: what was raised.
        copies: its only findings above info are copies that its library makes.
    """

    name: str
    source: str
    verdict: str = "healthy"
    rules: list[str] = field(default_factory=list)
    judged: float | None = None
    seconds: float = 0.0
    plain_seconds: float = 0.0
    peak_mb: float = 0.0
    fault: str = ""
    copies: bool = False

    @property
    def alarms(self) -> bool:
        """It says that a network which trains is faulty."""
        return RANK.get(self.verdict, 0) >= RANK["warning"] and not self.copies

    def __str__(self) -> str:
        judged = "-" if self.judged is None else f"{100 * self.judged:.1f}%"
        head = f"{self.verdict:8} {self.name:34} {judged:>6} {self.seconds:6.1f} s {self.peak_mb:6.0f} MB"
        return "\n".join([f"{head}  {self.fault}".rstrip(), *(f"           {text}" for text in self.rules)])


def entries(only: Sequence[str] = (), homes: Iterable[str] = HOMES) -> list[Entry]:
    """The zoo, or those whose name or source holds one of the words."""
    every = [entry for home in homes for entry in import_module(home).entries()]
    return [entry for entry in every if not only or any(word in f"{entry.source} {entry.name}" for word in only)]


def examine(entry: Entry, seed: int = 0, limit: int = 240) -> Report:
    """Probe one network in a process of its own, for at most `limit` seconds."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(limit)
        with os.fdopen(writing, "w") as pipe:
            json.dump(asdict(_examined(entry, seed)), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return Report(entry.name, entry.source, "refused", fault=f"ended with status {status} ({limit} s at most)")
    return Report(**json.loads(text))


def _examined(entry: Entry, seed: int) -> Report:
    from initprobe.torch import probe

    report = Report(entry.name, entry.source)
    try:
        torch.manual_seed(seed)
        model, x = entry.make(), entry.given()
        report.plain_seconds = plain(model, x)
        before, started = _peak(), time.perf_counter()
        result = probe(model, x, seed=seed, threads=1)
        report.seconds, report.peak_mb = time.perf_counter() - started, _peak() - before
        _note(report, result, entry)
    except BaseException as error:  # a network that is refused must not end the zoo
        report.verdict, report.fault = "refused", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return report


def _note(report: Report, result: Any, entry: Entry) -> None:
    findings = sorted(result.diagnosis, key=lambda finding: -RANK[finding.severity])
    severe = [finding for finding in findings if finding.severity != "info"]
    report.verdict = findings[0].severity if findings else "healthy"
    report.rules = [
        f"{finding.severity} {finding.rule} {finding.module}: {finding.evidence}"
        for finding in (severe or findings)[:MAX_FAULTS]
    ]
    report.judged = judged_share(result)
    report.copies = entry.copies and bool(severe) and all(finding.rule == COPIES for finding in severe)


def judged_share(result: Any) -> float | None:
    """Share of the parameters that was judged; None from a version that does not know it."""
    coverage = getattr(result, "coverage", None)
    return None if coverage is None else float(coverage.share)


def plain(model: Any, x: Any) -> float:
    """Seconds of a pass forward and back without any watching, and its memory is touched once."""
    started = time.perf_counter()
    output = model(**x) if isinstance(x, dict) else model(*x) if isinstance(x, tuple) else model(x)
    ends = [tensor for tensor in _tensors(output) if tensor.requires_grad]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.autograd.grad([tensor.sum() for tensor in ends], learning, allow_unused=True)
    return time.perf_counter() - started


def _tensors(held: Any) -> Iterable[torch.Tensor]:
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, dict):
        yield from (tensor for value in held.values() for tensor in _tensors(value))
    elif isinstance(held, list | tuple):
        yield from (tensor for value in held for tensor in _tensors(value))
    elif hasattr(held, "__dataclass_fields__"):
        yield from _tensors(dict(vars(held)))


def _peak() -> float:
    """Most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def summary(reports: Sequence[Report]) -> str:
    """The counts of a run, with every alarm and every network that was refused or judged in part."""
    refused = [report for report in reports if report.verdict == "refused"]
    alarms, copies = [report for report in reports if report.alarms], [report for report in reports if report.copies]
    judged = [report.judged for report in reports if report.judged is not None]
    share = f"{100 * statistics.median(judged):.2f}%" if judged else "unknown"
    lines = [
        f"{len(reports)} networks, {len(alarms)} false alarms, {len(copies)} with copies that their library makes, "
        f"{len(refused)} refused, median share judged {share}",
        *(f"  alarm   {report.name}: {'; '.join(rule.split(':')[0] for rule in report.rules)}" for report in alarms),
        *(f"  refused {report.name}: {report.fault}" for report in refused),
        *(
            f"  judged {100 * report.judged:.1f}% {report.name}"
            for report in reports
            if report.judged is not None and report.judged < 0.95
        ),
    ]
    return "\n".join(lines)


def rows(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """The counts of each source, and of all."""
    counts = []
    for source in (*dict.fromkeys(report.source for report in reports), "all"):
        own = [report for report in reports if source in (report.source, "all")]
        counts.append(
            {
                "source": source,
                "networks": len(own),
                "alarms": sum(report.alarms for report in own),
                "refused": sum(report.verdict == "refused" for report in own),
                "judged": statistics.median(report.judged or 0.0 for report in own),
            }
        )
    return counts


def versions() -> dict[str, str]:
    """Of the libraries that the networks come from."""
    return {name: version(name).partition("+")[0] for name in ("torch", *LIBRARIES)}


def import_all(package: str) -> None:
    """Every module below a package, and what the probe imports late. A child must not count their memory as its own."""
    for module in iter_modules(import_module(package).__path__, f"{package}."):
        import_module(module.name)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="words of names or sources, joined by commas")
    parser.add_argument("--part", default="1/1", help="which part of how many, as 2/4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--publish", action="store_true", help="write the counts that the README shows")
    parser.add_argument("--json", type=Path, help="where the reports go")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    part, parts = map(int, options.part.split("/"))
    chosen = entries([word for word in options.only.split(",") if word])[part - 1 :: parts]
    import_all("initprobe.torch")
    import_module("torch._dynamo")  # 75 MB that torch.compiler takes late
    for source in {entry.source for entry in chosen}:
        with suppress(ImportError, AttributeError):
            getattr(import_module("zoo_libraries"), source)()
    reports = []
    for entry in chosen:
        reports.append(examine(entry, options.seed))
        print(reports[-1], flush=True)
    print(summary(reports))
    print(table(rows(reports)))
    if options.publish:
        publish("versions", versions())
        publish("networks", rows(reports))
    if options.json:
        options.json.write_text(json.dumps([asdict(report) for report in reports], indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
