"""The plugin of pytest: a fixture `initprobe`, and one test per model that is named on the command line.

    pytest --initprobe-model mynet:make@64,784 --initprobe-model timm:resnet18

Loaded at each start of pytest, so this module imports pytest alone.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from initprobe.errors import ConfigError, InitprobeError
from initprobe.testing.assertions import assert_healthy, assert_init, faults_of

if TYPE_CHECKING:
    from initprobe.results.run import ProbeResult

_INI = "initprobe_models"
_MARK = "initprobe"


@dataclass(frozen=True)
class Checks:
    """What the fixture `initprobe` offers: the assertions of `initprobe.testing`, and `initprobe.torch.probe`."""

    assert_healthy = staticmethod(assert_healthy)
    assert_init = staticmethod(assert_init)

    def probe(self, model: Any, x: Any, **options: Any) -> ProbeResult:
        """Measure a model without judging it, as `initprobe.torch.probe` does.

        Args:
            model: a module of PyTorch.
            x: its input.
            options: as `initprobe.torch.probe` takes them.
        """
        from initprobe.torch import probe

        return probe(model, x, **options)


@pytest.fixture
def initprobe() -> Checks:
    """Assertions on PyTorch models: `initprobe.assert_healthy(model, x)`, `.assert_init(model, rules)`, `.probe`."""
    return Checks()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--initprobe-model`, and the same as a list in the configuration of pytest."""
    text = (
        "a PyTorch model whose signal must survive, one test each; repeatable. PACKAGE.MODULE:FACTORY@SHAPE as in "
        "mynet:make@64,784, with a further @NAME=SHAPE for each further input, or timm:NAME"
    )
    parser.getgroup("initprobe").addoption(
        "--initprobe-model", action="append", default=[], metavar="MODEL[@SHAPE]", dest="initprobe_model", help=text
    )
    parser.addini(_INI, f"as --initprobe-model: {text}", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark of the tests of models: `-m initprobe` selects them."""
    config.addinivalue_line("markers", f"{_MARK}: the test of a model that --initprobe-model names")


@pytest.hookimpl(hookwrapper=True)  # the form that every pytest knows: the plugin must not stop an old one
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, None]:
    """Add a test per model to those that the session collects."""
    outcome = yield
    report = outcome.get_result()
    if isinstance(collector, pytest.Session) and report.passed:
        config = collector.config
        models = dict.fromkeys([*config.getini(_INI), *config.getoption("initprobe_model")])
        items = (ModelItem.from_parent(collector, name=f"initprobe[{text}]", text=text) for text in models)
        report.result = [*report.result, *items]


class Unhealthy(Exception):
    """The verdict on a model fails; the message is what pytest shows."""


class ModelItem(pytest.Item):
    """The test of one model."""

    def __init__(self, *, text: str, **more: Any) -> None:
        super().__init__(**more)
        self.target, *self.inputs = text.split("@")
        self.add_marker(_MARK)

    def runtest(self) -> None:
        """Probe the model.

        Raises:
            Unhealthy: there is a finding above info, or too little was judged.
            ConfigError: the model cannot be made or called.
        """
        from initprobe.torch.installed import require_torch

        require_torch()
        from initprobe.torch.libraries import library_of
        from initprobe.torch.loading import Request, probe_request

        if not self.inputs and not library_of(self.target):
            raise ConfigError(f"{self.target}: name its input behind an @, as in {self.target}@64,784")
        shapes = tuple(text for text in self.inputs if _is_shape(text))
        files = tuple(text for text in self.inputs if not _is_shape(text))
        result = probe_request(Request(self.target, inputs=files, shapes=shapes))
        if faults := faults_of(result):
            raise Unhealthy("\n".join([*faults, "", result.table()]))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The verdict, or the one line of an error, without the lines of this plugin.

        Args:
            excinfo: of pytest.
            style: of pytest.
        """
        if isinstance(excinfo.value, Unhealthy | InitprobeError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """How the test is named in reports."""
        return self.config.rootpath, None, self.name


def _is_shape(text: str) -> bool:
    """Whether an input is a shape, `NAME=64,784:0..9`; else it is a file or a function."""
    return text.rpartition("=")[2][:1].isdigit()
