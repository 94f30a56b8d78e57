"""Buffers are used again; work that was put off is done before they are overwritten."""

import pytest

from initprobe import ProbeConfig
from initprobe.engine import threads
from initprobe.engine.threads import Workers
from initprobe.probe import memory_parts
from initprobe.probe.run import measured


class LateWorkers(Workers):
    """Do work that was put off as late as possible, when what it reads may already be overwritten."""

    def __init__(self, helpers: int) -> None:
        super().__init__(0)
        self._lazy, self._todo = helpers > 0, []

    def later(self, *task):
        if self._lazy:
            self._todo.append(task)
        else:
            super().later(*task)

    def finish(self):
        todo, self._todo = self._todo, []
        for task in todo:
            super().later(*task)
        super().finish()


OFTEN_REUSED = {
    "stacks": {"widths": (20,) * 5 + (30, 20, 30, 30), "batches": 2},
    "norms": {"layers": 9, "width": 24, "norm": "layer", "residual": True},
    "units": {"layers": 60, "width": 20, "init": "normal:std=0.001", "batches": 2},
    "sampled": {"layers": 3, "width": 300, "batch": 16},
}


@pytest.mark.parametrize("kept", [memory_parts.KEPT_BYTES, pytest.param(0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", OFTEN_REUSED)
def test_nothing_is_overwritten_before_its_statistics_are_taken(case, kept, monkeypatch):
    monkeypatch.setattr(memory_parts, "KEPT_BYTES", kept)
    config = ProbeConfig(**{"init": "he", "act": "relu", "batch": 40, "draws": 2} | OFTEN_REUSED[case])
    at_once = measured(config, threads=1).layers
    monkeypatch.setattr(threads, "Workers", LateWorkers)
    assert measured(config, threads=2).layers == at_once
