"""`initprobe torch --expect` and `--lock`, and `initprobe recognize`, as a user types them."""

import json
import sys
from xml.etree import ElementTree

import pytest

torch = pytest.importorskip("torch")

NET = """
import torch
from torch import nn


def make(std=0.02, layers=3):
    net = nn.Sequential(*(nn.Linear(40, 40) for _ in range(layers)), nn.LayerNorm(40))
    for layer in net[:layers]:
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)
    return net


def counted():
    with open("made", "a") as made:
        made.write("x")
    torch.manual_seed(3)
    net = nn.Sequential(*(part for _ in range(8) for part in (nn.Linear(40, 40), nn.Tanh())))
    for layer in net[::2]:
        nn.init.normal_(layer.weight, std=0.01)
    return net


def wide():
    return make(0.03)


def deep():
    return make(layers=4)


def tied():
    net = make()
    net[1].weight = net[0].weight
    return net


def empty():
    return nn.ReLU()


def plain():
    return nn.Sequential(*(nn.Linear(40, 40) for _ in range(6)))


def normed():
    return nn.Sequential(*(part for _ in range(6) for part in (nn.Linear(40, 40), nn.LayerNorm(40))))
"""
CONTRACT = """version: 1
default: normal:std=0.02
parameters:
  "*.bias": zeros
  "3.weight": ones
"""


@pytest.fixture
def shell(initprobe, tmp_path, monkeypatch):
    (tmp_path / "contractnet.py").write_text(NET)
    (tmp_path / "init.yaml").write_text(CONTRACT)
    monkeypatch.syspath_prepend(tmp_path)
    yield initprobe
    sys.modules.pop("contractnet", None)


def test_a_model_as_meant_gives_one_line_and_needs_no_input(shell, tmp_path):
    done = shell("torch", "contractnet:make", "--expect", "init.yaml")
    assert (done.code, done.err) == (0, "")
    first, least = done.out.splitlines()
    assert first == "contract  8 parameters as meant (init.yaml)"
    assert least.startswith("note      least certain: 0.weight (1,600 entries), where a std ")
    assert not (tmp_path / "initprobe-out").exists()


def test_each_parameter_that_differs_has_a_line_and_the_exit_code_is_1(shell, tmp_path):
    done = shell("torch", "contractnet:wide", "--expect", "init.yaml", "-q", "--junit", "j.xml")
    assert done.code == 1
    assert done.err == "Error: init.yaml: 3 of 8 parameters not as meant\n"
    lines = done.out.splitlines()
    assert lines[0].startswith(
        "error     *.weight (3 parameters, first 0.weight): meant normal:std=0.02 (std 0.0200), at worst has mean "
    )
    assert lines[0].endswith(" standard errors; it looks like normal:std=0.03 [init.yaml:2]") and "% too l" in lines[0]
    assert lines[1:] == ["contract  3 of 8 parameters not as meant (init.yaml)"]
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("9", "3")


def test_the_report_is_json_of_finite_numbers(shell):
    report = json.loads(shell("torch", "contractnet:wide", "--expect", "init.yaml", "--export-json", "-").out)
    assert report["lock"] is None and not report["expect"]["holds"]
    first = report["expect"]["parameters"][0]
    assert (first["name"], first["failed"], first["line"], first["meant"]["std"]) == ("0.weight", "std", 2, 0.02)
    assert first["measured"]["std"] == pytest.approx(0.03, rel=0.1)


def test_copies_are_reported(shell):
    done = shell("torch", "contractnet:tied", "--expect", "init.yaml")
    assert done.code == 0 and "copies    one tensor under 2 names: 0.weight, 1.weight" in done.out


def test_with_an_input_the_model_is_measured_too(shell, tmp_path):
    words = ("--expect", "init.yaml", "--input-shape", "16,40", "--no-figures", "-q")
    done = shell("torch", "contractnet:make", *words, "--junit", "j.xml")
    assert done.out.startswith("contract  8 parameters as meant (init.yaml)\n") and "judged " in done.out
    names = [case.get("name") for case in ElementTree.parse(tmp_path / "j.xml").getroot().iter("testcase")]
    assert "vanishing-output" in names and "init.yaml: 0.weight" in names
    assert shell("torch", "contractnet:wide", *words).code == 1


def test_a_lock_is_written_then_compared(shell, tmp_path):
    first = shell("torch", "contractnet:make", "--lock", "init.lock")
    assert first.code == 0 and first.out.startswith("wrote     init.lock: 5 lines of parameters")
    assert shell("torch", "contractnet:make", "--lock", "init.lock", "--seed", "1").code == 0
    other = shell("torch", "contractnet:wide", "--lock", "init.lock", "--expect", "init.yaml")
    assert other.code == 1
    assert other.err == (
        "Error: init.yaml: 3 of 8 parameters not as meant; init.lock: 3 of 8 parameters not as meant\n"
    )
    deep = shell("torch", "contractnet:deep", "--lock", "init.lock", "-q")
    assert deep.code == 1 and "--update-lock writes the lock anew [init.lock]" in deep.out
    tied = shell("torch", "contractnet:tied", "--lock", "init.lock", "-q")
    assert tied.code == 1 and "error     one tensor now: 0.weight, 1.weight [init.lock]" in tied.out
    assert shell("torch", "contractnet:wide", "--lock", "init.lock", "--update-lock").code == 0
    assert shell("torch", "contractnet:wide", "--lock", "init.lock").code == 0


def test_a_lock_of_another_model_is_a_difference(shell, tmp_path):
    """Rules for matrices now cover vectors, and two patterns of the second lock cover one name."""
    assert shell("torch", "contractnet:plain", "--lock", "plain.lock", "-q").code == 0
    both = 'version: 1\nparameters:\n  "*.weight": 12 x any\n  "*1.bias": 2 x ones\n  "1*.bias": 3 x zeros\n'
    (tmp_path / "both.lock").write_text(both)
    for lock in ("plain.lock", "both.lock"):
        done = shell("torch", "contractnet:normed", "--lock", lock, "-q")
        assert done.code == 1 and "another kind of tensor than in the lock: " in done.out, done.err


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--update-lock",), "--update-lock: belongs to --lock FILE"),
        (("--expect", "init.yaml", "--fail-on", "error"), "--fail-on: belongs to a measurement; give --input-shape"),
        (("--expect", "init.yaml", "--export-csv", "-"), "--export-csv: belongs to a measurement"),
        (("--expect", "init.yaml", "--input-shape", "2,40", "--export-json", "a"), "--export-json: is for one report"),
        (("--expect", "no.yaml"), "no.yaml: no such file"),
    ],
)
def test_an_impossible_combination_is_an_error_of_one_line(shell, words, fault):
    done = shell("torch", "contractnet:make", *words)
    assert done.code == 2 and done.err.startswith(f"Error: {fault}"), done.err
    assert done.err.count("\n") == 1


def test_a_lock_below_a_file_is_refused(shell):
    done = shell("torch", "contractnet:make", "--lock", "init.yaml/x")
    assert done.code == 2 and done.err.count("\n") == 1 and "init.yaml/x: no directory " in done.err


def test_a_model_without_parameters_is_refused(shell):
    assert shell("torch", "contractnet:empty", "--expect", "init.yaml").err == (
        "Error: contractnet:empty has no parameters\n"
    )


def test_a_pattern_that_matches_nothing_has_its_line(shell, tmp_path):
    (tmp_path / "init.yaml").write_text(CONTRACT.replace("3.weight", "3.wieght"))
    done = shell("torch", "contractnet:make", "--expect", "init.yaml")
    assert done.code == 2
    assert done.err == "Error: init.yaml:5: '3.wieght' matches no parameter. Did you mean '3.weight'?\n"


def test_recognized_rules_are_a_table_json_and_a_contract(shell, tmp_path):
    rows = shell("recognize", "contractnet:make").out.splitlines()
    assert rows[0].split() == ["parameters", "number", "shape", "rule", "std", "+-%"]
    assert rows[1].split()[:4] == ["0.weight", "1", "40x40", "normal:std=0.02"]
    groups = json.loads(shell("recognize", "contractnet:make", "--export-json", "-").out)["groups"]
    assert {group["rule"] for group in groups} == {"normal:std=0.02", "zeros", "ones"}
    assert shell("recognize", "contractnet:make", "--export-yaml", "own.yaml").code == 0
    assert shell("torch", "contractnet:make", "--expect", "own.yaml", "--seed", "4").code == 0
    tied = shell("recognize", "contractnet:tied").out
    assert "copies    one tensor under 2 names: 0.weight, 1.weight" in tied


def test_the_schema_of_contracts(shell):
    assert json.loads(shell("schema", "contract").out)["title"] == "Initialization contract"
    assert shell("schema").out == shell("schema", "sweep").out
    assert shell("schema", "contrat").code == 2


def test_contracts_are_explained(initprobe):
    done = initprobe("explain", "contract")
    assert done.code == 0 and "`initprobe torch --expect`" in done.out


def test_the_model_is_made_once_and_a_fix_leaves_what_the_contract_and_keep_name(shell, tmp_path):
    (tmp_path / "init.yaml").write_text(
        "version: 1\ndefault: any\nparameters:\n  '14.*': any\noptional: {'x.*': any}\n"
    )
    words = ("--expect", "init.yaml", "--input-shape", "16,40", "--no-figures", "-q", "--fix", "init.py")
    assert shell("torch", "contractnet:counted", *words, "--keep", "12.bias").code == 0
    assert (tmp_path / "made").read_text() == "x"
    text = (tmp_path / "init.py").read_text()
    assert "range(0, 13, 2)" in text and "14" not in text.partition("def init")[2]
    import contractnet

    model, before = contractnet.counted(), contractnet.counted()
    namespace = {}
    exec(text, namespace)
    namespace["init"](model)
    for name, tensor in model.named_parameters():
        assert torch.equal(tensor, before.get_parameter(name)) is (name.startswith("14.") or name == "12.bias"), name


def test_a_wrong_pattern_of_keep_is_found_before_anything_is_measured(shell):
    done = shell("torch", "contractnet:make", "--input-shape", "16,40", "--fix", "init.py", "--keep", "0.wieght")
    assert (done.code, done.out) == (2, "")
    assert done.err == "Error: '0.wieght' matches no parameter. Did you mean '0.weight'?\n"


META = """
import torch
from torch import nn


def meta():
    return nn.Linear(3, 4, device="meta")


def real():
    return nn.Linear(30, 40)


class Words(nn.Linear):
    def forward(self, x):
        return super().forward(x).argmax(-1)


def words():
    return Words(30, 40)


def broken():
    net = real()
    with torch.no_grad():
        net.weight[0, 0] = float("nan")
    return net
"""


@pytest.mark.torch
def test_a_lock_of_a_model_without_values_is_refused_and_one_on_standard_output_is_alone(initprobe, tmp_path):
    (tmp_path / "lock_of.py").write_text(META)
    refused = initprobe("torch", "lock_of:meta", "--lock", "a.lock")
    assert refused.code == 2 and "meta device" in refused.err and not (tmp_path / "a.lock").exists()
    alone = initprobe("torch", "lock_of:real", "--lock", "-")
    assert alone.code == 0 and "wrote" not in alone.out and "version: 1" in alone.out
    twice = initprobe("torch", "lock_of:real", "--input-shape", "9,30", "--lock", "-", "--export-csv", "-")
    assert twice.code == 2 and "standard output" in twice.err


@pytest.mark.torch
def test_an_output_without_gradient_is_an_error(initprobe, tmp_path):
    (tmp_path / "words_of.py").write_text(META)
    outcome = initprobe("torch", "words_of:words", "--input-shape", "9,30", "--no-figures", "-q", "--fail-on", "error")
    assert outcome.code == 1 and "NO GRADIENT" in outcome.out


@pytest.mark.torch
def test_a_parameter_with_nan_is_named(initprobe, tmp_path):
    (tmp_path / "nan_of.py").write_text(META)
    (tmp_path / "c.yaml").write_text("version: 1\ndefault: torch_linear\n")
    shown = initprobe("recognize", "nan_of:broken")
    assert shown.code == 0 and "weight holds NaN or infinity" in shown.out
    for words in (("--expect", "c.yaml"), ("--lock", "a.lock")):
        refused = initprobe("torch", "nan_of:broken", *words)
        assert refused.code == 2 and "weight holds NaN or infinity" in refused.err
