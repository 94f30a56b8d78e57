"""Known findings in a PyTorch model of one's own: by module name, in the shell and in a test."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from initprobe.diagnosis.diagnose import RULES  # noqa: E402
from initprobe.errors import ConfigError, UnknownNameError  # noqa: E402
from initprobe.sweeps.ignores import apply, make_ignore, parse_target  # noqa: E402
from initprobe.testing import assert_healthy  # noqa: E402
from initprobe.torch import probe  # noqa: E402

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(*(part for _ in range(3) for part in (nn.Linear(16, 16), nn.ReLU())))
        self.decoder = nn.Sequential(*(part for _ in range(3) for part in (nn.Linear(16, 16), nn.ReLU())))

    def forward(self, x):
        return self.decoder(self.encoder(x))


def dead():
    net = Net()
    for layer in (net.encoder[2], net.decoder[2]):
        nn.init.constant_(layer.bias, -100.0)
    return net
"""
SHELL = ("torch", "net:dead", "--input-shape", "32,16", "--no-figures", "-q", "--fail-on", "error")


def rows():
    return torch.randn(32, 16, generator=torch.Generator().manual_seed(1))


def blind(*layers):
    """Six layers of ReLU, of which some are off for every input. Each next one makes the same of its biases alone."""
    torch.manual_seed(0)
    net = nn.Sequential(*(part for _ in range(6) for part in (nn.Linear(16, 16), nn.ReLU())))
    for part in net[::2]:
        nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        nn.init.uniform_(part.bias, 0.1, 1)
    for layer in layers:
        nn.init.constant_(net[2 * layer].bias, -100.0)
    return net


def left(result, *texts):
    ignores = [make_ignore(*parse_target(text), "why", None, text) for text in texts]
    marked, _ = apply(result, ignores)
    return [
        (finding.rule, finding.module)
        for finding in marked.diagnosis
        if finding.ignored is None and finding.rule == "dead-layer"
    ]


def test_a_name_covers_its_module_alone():
    dead = probe(blind(1, 2, 4), rows())
    two, four, eight = (("dead-layer", name) for name in "248")  # each by its own bias, so each for itself
    assert left(dead) == [two, four, eight]
    assert left(dead, "dead-layer@[2]") == [four, eight]
    assert left(dead, "dead-layer@[24]") == [eight]
    assert left(dead, "dead-layer@[248]") == left(dead, "dead-layer") == left(dead, "dead-layer@*") == []
    assert left(dead, "dead-layer@2") == [four, eight]  # layer 2 is module 2
    assert left(dead, "dead-layer@encoder.*") == [two, four, eight]


def flat(*layers):
    """Six layers of tanh, of which some are saturated by their biases."""
    torch.manual_seed(0)
    net = nn.Sequential(*(part for _ in range(6) for part in (nn.Linear(16, 16), nn.Tanh())))
    for part in net[::2]:
        nn.init.xavier_normal_(part.weight)
    for layer in layers:
        nn.init.constant_(net[2 * layer].bias, 9.0)
    return net


def test_one_known_place_hides_no_other():
    """The finding names the first place alone. It records the others, for an ignore and for a file of known ones."""
    result = probe(flat(1, 3), rows(), threads=1)
    assert [finding.module for finding in result.diagnosis if finding.rule == "saturated"] == ["2"]

    def left(*texts):
        marked, _ = apply(result, [make_ignore(*parse_target(text), "why", None, text) for text in texts])
        return [finding for finding in marked.diagnosis if finding.rule == "saturated" and not finding.ignored]

    (other,) = left("saturated@[2]")
    assert (other.layer, other.module, other.fix) == (4, "6", None) and "100% of the outputs" in other.evidence
    assert not left("saturated") and not left("saturated@[26]") and not left("saturated@2,4")


@pytest.fixture
def shell(initprobe, tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    yield initprobe
    import sys

    sys.modules.pop("net", None)


def test_modules_are_ignored_in_the_shell(shell):
    assert shell(*SHELL).code == 1
    outcome = shell(*SHELL, "--ignore", "dead-layer@encoder.*", "--reason", "pruned")
    assert outcome.code == 1 and "DEAD LAYER from layer 5 (decoder.2)" in outcome.out
    assert "ignored   dead layer from layer 2 (encoder.2): " in outcome.out and "(pruned)" in outcome.out
    rules = ("dead-layer@*coder.2", "no-gradient", "void-parameter")
    every = [part for rule in rules for part in ("--ignore", rule)]
    done = shell(*SHELL, *every, "--reason", "pruned")
    assert (done.code, "note: --ignore void-parameter: matches nothing" in done.err) == (0, True), done.err


def test_findings_of_a_model_are_written_by_module(shell, tmp_path):
    assert shell(*SHELL, "--write-known", "k.yaml").code == 0
    text = (tmp_path / "k.yaml").read_text()
    assert 'rule: "dead-layer"\n    at: ["encoder.2", "decoder.2"]' in text
    done = shell(*SHELL, "--known", "k.yaml", "--junit", "a.xml")
    assert (done.code, done.err) == (0, "")
    assert "skipped" in (tmp_path / "a.xml").read_text()


def test_assert_healthy_takes_known_findings(tmp_path):
    net = blind(1, 4)
    with pytest.raises(AssertionError, match=r"dead layer from layer 2 \(2\)"):
        assert_healthy(net, rows())
    with pytest.raises(AssertionError, match=r"dead layer from layer 5 \(8\)"):
        assert_healthy(net, rows(), ignore={"dead-layer@[2]": "pruned"})
    every = {"dead-layer": "pruned", "no-gradient": ("follows", "2999-12-31"), "saturated@9": "stale"}
    others = [rule for rule in RULES if rule not in ("dead-layer", "no-gradient", "saturated")]
    rest = dict.fromkeys(others, "seen")
    result = assert_healthy(net, rows(), ignore=rest | every)
    assert "ignore 'saturated@9': matches nothing; drop it" in result.notes
    file = tmp_path / "k.yaml"
    entries = [f"  - {{rule: {rule}, reason: seen}}" for rule in {**rest, **every}]
    file.write_text("\n".join(["version: 1", "known:", *entries]))
    assert assert_healthy(net, rows(), known=file).notes == probe(net, rows()).notes
    with pytest.raises(AssertionError, match=r"ignore 'saturated': expired on 2020-01-01"):
        assert_healthy(net, rows(), known=str(file), ignore={"saturated": ("x", "2020-01-01")})


def test_assert_healthy_refuses_wrong_known_findings(tmp_path):
    for wrong, error in (({"dead-layr": "x"}, UnknownNameError), ({"dead-layer": ""}, ConfigError)):
        with pytest.raises(error):
            assert_healthy(blind(), rows(), ignore=wrong)
    with pytest.raises(ConfigError, match="no such file"):
        assert_healthy(blind(), rows(), known=tmp_path / "none.yaml")


@pytest.mark.parametrize(("words", "collects"), [(["torch"], False), (["run"], True)])
def test_the_garbage_collector_is_off_in_the_process_of_the_torch_command_alone(words, collects):
    """`main`, which a host process may call, leaves it on."""
    code = (
        "import gc, sys, initprobe.cli.app as app\n"
        "app.main = lambda arguments=None: print(gc.isenabled())\n"
        f"sys.argv = ['initprobe', *{words!r}]\napp.program()"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str(collects)
