"""`initprobe torch`: a model from the shell, and one line for every fault."""

import json
import subprocess
import sys

import numpy as np
import pytest

NET = """
import torch
from torch import nn


def make():
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))


def odd():
    model = make()
    model.append(nn.ReLU()).append(nn.Linear(5, 5))
    nn.init.normal_(model[2].weight, std=10)
    return model


def embedding():
    return nn.Sequential(nn.Embedding(9, 20), nn.Linear(20, 5), nn.BatchNorm1d(7))


def broken():
    raise RuntimeError("no such thing\\nand more")


def spare():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.spare = nn.Linear(20, 20), nn.Linear(20, 15)

        def forward(self, x):
            return self.fc(x)

    return Net()


def functional():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(20, 30)

        def forward(self, x):
            return torch.relu(self.fc(x))

    return Net()


def branching():
    class Net(nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x.relu()

    return Net(20, 30)


def lazy():
    import helper

    return helper.make()


class Picky(nn.Module):
    def __init__(self, size):
        super().__init__()


class Masked(nn.Linear):
    def __init__(self):
        super().__init__(20, 20)

    def forward(self, x, mask):
        return super().forward(x) * mask


def words():
    return nn.Embedding(10, 4)


def pair():
    return nn.Linear(20, 20), 3


class Back(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        raise ValueError("no way back")


class Oneway(nn.Linear):
    def __init__(self):
        super().__init__(20, 20)

    def forward(self, x):
        return Back.apply(super().forward(x))


class Leaving(nn.Linear):
    def __init__(self):
        super().__init__(20, 20)

    def forward(self, x):
        raise SystemExit(0)


def leave():
    raise SystemExit(0)


def meta():
    return nn.Linear(20, 20, device="meta")


def marked():
    model = make()
    model.add_module("[/foo]", nn.Linear(5, 5))
    return model


number = 3
"""


@pytest.fixture
def net(tmp_path, monkeypatch, torch):
    """A module of models in the working directory, and PyTorch."""
    (tmp_path / "cli_net.py").write_text(NET)
    (tmp_path / "helper.py").write_text("from cli_net import make\n")
    yield torch
    for name in ("cli_net", "helper"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("net")
def test_the_command_writes_table_figures_and_exports(initprobe, tmp_path):
    done = initprobe("torch", "cli_net:make", "--input-shape", "16,20", "--export-csv", "-", "--export-json", "r.json")
    assert done.code == 0, done.err
    assert done.out.startswith("layer,") and len(done.out.splitlines()) == 3
    assert "20 -> 30 -> 5" in done.err and "fan_in x E[W^2]" in done.err
    home = tmp_path / "initprobe-out" / "torch-Sequential-2-cli-net.make-16x20"
    names = {path.name for path in home.iterdir()}
    assert names == {"summary.png", "output.png", "gradient.png", "depth.png", "result.json"}
    kept = json.loads((tmp_path / "r.json").read_text())
    assert kept["layers"][1]["name"] == "2" and kept["config"]["source"] == "torch"
    shown = initprobe("show", home / "result.json", "-v")
    assert "class" in shown.out and "ReLU" in shown.out
    again = initprobe("torch", "cli_net:make", "--input-shape", "16,20", "-o", "out", "--format", "svg", "-v")
    assert "pre-activation gradient dL/dz" in again.out and (tmp_path / "out" / "depth.svg").exists()
    same = initprobe("diff", home, "out", "--fail-on", "figures:0%", "--fail-on", "verdict")
    assert (same.code, "1 agree" in same.out) == (0, True)


@pytest.mark.usefixtures("net")
def test_the_command_takes_seed_and_quiet_and_fail_on(initprobe):
    arguments = ("torch", "cli_net:odd", "--input-shape", "16,20", "--no-figures", "-q")
    done = initprobe(*arguments, "--fail-on", "warning")
    assert done.code == 1 and done.err.startswith("Error: --fail-on warning: odd layer")
    assert "ODD LAYER from layer 2 (2)" in done.out and "nn.init.kaiming_normal_(model[2].weight" in done.out
    other = [initprobe(*arguments[:4], "--no-figures", "--seed", seed).out for seed in (0, 0, 1)]
    assert other[0] == other[1] != other[2]


def test_the_command_takes_data_and_dtype_and_mode_and_checkpoint(initprobe, net, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(9, 20)))
    np.savetxt(tmp_path / "x.csv", np.ones((3, 20)), delimiter=",")
    np.save(tmp_path / "tokens.npy", np.zeros((4, 7), np.int32))
    for file, target in (("x.npy", "make"), ("x.csv", "make"), ("tokens.npy", "embedding"), ("x.npy", "lazy")):
        done = initprobe("torch", f"cli_net:{target}", "--input", file, "--no-figures")
        assert done.code == 0, done.err
    half = initprobe(
        "torch", "cli_net:make", "--input", "x.npy", "--dtype", "bfloat16", "--eval", "--no-figures", "--threads", 1
    )
    assert "evaluation mode, bfloat16 on cpu" in half.out
    sys.path.insert(0, str(tmp_path))
    import cli_net

    sys.path.remove(str(tmp_path))
    model = cli_net.make()
    net.nn.init.constant_(model[0].weight, 0.25)
    for held in (model.state_dict(), {"state_dict": model.state_dict()}):
        net.save(held, tmp_path / "model.pt")
        done = initprobe(
            "torch",
            "cli_net:make",
            "--input",
            "x.npy",
            "--checkpoint",
            "model.pt",
            "--no-figures",
            "--export-json",
            "-",
        )
        assert json.loads(done.out)["layers"][0]["weight"]["mean"] == 0.25


@pytest.mark.usefixtures("net")
def test_functional_activations_are_recorded(initprobe):
    outcome = initprobe("torch", "cli_net:functional", "--input-shape", "16,20", "--no-figures")
    assert "note" not in outcome.out and "dead%" in outcome.out


@pytest.mark.usefixtures("net")
def test_the_judged_share_is_printed_and_gates(initprobe):
    """Also in the quiet verdict. Below the share that is asked for, the verdict speaks of a part, and gates fail."""
    arguments = ("torch", "cli_net:spare", "--input-shape", "16,20", "--no-figures", "-q")
    done = initprobe(*arguments)
    assert "judged    57.1% of 735 parameters; not judged: spare (never used)" in done.out
    assert "SIGNAL SURVIVES in the 57.1% that was judged" in done.out and done.code == 0
    failed = initprobe(*arguments, "--fail-on", "error")
    assert failed.code == 1 and "only 57.1% of 735 parameters" in failed.err
    assert initprobe(*arguments, "--fail-on", "error", "--min-judged", "0.5").code == 0
    assert initprobe(*arguments, "--min-judged", "0").code == 2


@pytest.mark.usefixtures("net")
def test_fixes_are_tried_by_default(initprobe):
    arguments = ("torch", "cli_net:odd", "--input-shape", "16,20", "--no-figures", "-q")
    assert "\nfix " in initprobe(*arguments).out
    assert "\nfix " not in initprobe(*arguments, "--no-try-fixes").out


FAULTS = [
    (["cli_net"], "not PACKAGE.MODULE:FACTORY"),
    (["absent.module:make"], "absent.module:make: there is no module absent"),
    (["cli_net:mak"], "cli_net.py has no 'mak'. Did you mean 'make'?"),
    (["cli_net:number"], "cli_net:number is of type int"),
    (["cli_net:broken"], "cli_net:broken() cannot make a model: RuntimeError: no such thing (cli_net.py:"),
    (["cli_net:Picky"], "cli_net:Picky needs size; name a function without arguments that returns Picky(size=...)"),
    (["cli_net:torch.randint"], "cannot make a model"),
    (["./nets/cli_net.py:make"], "a module is named without .py and with dots; write nets.cli_net:make"),
    (["cli_net:pair"], "cli_net:pair() gives an object of type tuple, not a torch.nn.Module"),
    (
        ["cli_net:Masked", "--input-shape", "4,20"],
        "forward needs mask too; name every input: --input-shape x=... --input-shape mask=...",
    ),
    (["cli_net:words", "--input-shape", "4,8"], "without ids, which an embedding needs, as in --input-shape 4,16:0..9"),
    (["cli_net:make"], "give one of --input-shape 64,784 and --input FILE"),
    (["cli_net:make", "--input-shape", "16,21"], "cli_net:make: fails on an input of shape 16 x 21 and float32"),
    (["cli_net:make", "--input-shape", "16,x"], "--input-shape: '16,x' is not a list"),
    (["cli_net:make", "--input-shape", "16,0"], "--input-shape: '16,0' is not a list"),
    (["cli_net:make", "--input", "absent.npy"], "absent.npy: no such file"),
    (["cli_net:make", "--input-shape", "4,20", "--checkpoint", "absent.pt"], "absent.pt: no such file"),
    (["cli_net:make", "--input-shape", "4,20", "--checkpoint", "cli_net.py"], "cli_net.py:"),
    (["cli_net:make", "--input-shape", "4,20", "--checkpoint", "code.pt"], "holds more than tensors"),
    (["cli_net:make", "--input-shape", "4,20", "--checkpoint", "list.pt"], "holds a list"),
    (
        ["cli_net:make", "--input-shape", "4,20", "--checkpoint", "other.pt"],
        "does not fit the model: it lacks 0.bias, 2.bias; it has 9.weight; 0.weight is 3, not 30 x 20",
    ),
    (
        ["cli_net:Oneway", "--input-shape", "4,20"],
        "cli_net:Oneway: fails on the way back from an input of shape 4 x 20",
    ),
    (["cli_net:Leaving", "--input-shape", "4,20"], "fails on an input of shape 4 x 20 and float32: SystemExit: 0"),
    (["cli_net:leave", "--input-shape", "4,20"], "cli_net:leave() cannot make a model: SystemExit: 0"),
    (["leaving:make", "--input-shape", "4,20"], "leaving cannot be imported: SystemExit: 3"),
    (["cli_net:meta", "--input-shape", "4,20"], "weight: is on the meta device, without numbers"),
    (["cli_net:make", "--input-shape", "1000000,1000000"], "--input-shape: 1000000 x 1000000 and its copies need"),
    (["cli_net:make", "--input", "xnan.npy"], "the input: row 2, column 3: nan is no finite number"),
    (["cli_net:make", "--input-shape", "4,20", "--threads", "0"], "--threads: must be at least 1"),
    (["cli_net:make", "--input-shape", "4,20", "-o", ""], "--out: is empty"),
]


@pytest.mark.parametrize(("arguments", "words"), FAULTS, ids=[" ".join(a) for a, _ in FAULTS])
def test_every_user_fault_is_one_line(initprobe, net, tmp_path, arguments, words):
    import pathlib

    net.save({"code": pathlib.Path("x")}, tmp_path / "code.pt")
    net.save([net.ones(3)], tmp_path / "list.pt")
    other = {"9.weight": net.ones(3), "0.weight": net.ones(3), "2.weight": net.ones(5, 30)}
    net.save(other, tmp_path / "other.pt")
    (tmp_path / "leaving.py").write_text("import sys; sys.exit(3)")
    numbers = np.ones((4, 20))
    numbers[1, 2] = np.nan
    np.save(tmp_path / "xnan.npy", numbers)
    done = initprobe("torch", *arguments, "--no-figures")
    assert done.code == 2, done.out
    assert words in done.err and len(done.err.splitlines()) == 1, done.err


@pytest.mark.usefixtures("net")
def test_names_that_look_like_markup_and_seeds_beyond_torch(initprobe):
    done = initprobe("torch", "cli_net:marked", "--input-shape", "4,20", "--no-figures", "-v")
    assert done.code == 0 and done.out.count("[/foo]") == 2, done.out + done.err
    far = initprobe("torch", "cli_net:make", "--input-shape", "4,20", "--no-figures", "--seed", 10**22)
    assert far.code == 2 and "Traceback" not in far.err
    last = initprobe("torch", "cli_net:make", "--input-shape", "4,20", "--no-figures", "--seed", 2**63 - 1)
    assert last.code == 0, last.err


def test_without_torch_it_says_what_to_install(tmp_path):
    """In a process of its own, where torch cannot be imported."""
    command = "import sys; sys.modules['torch'] = None; from initprobe.cli.app import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", command, "torch", "x:y", "--input-shape", "2,3"], capture_output=True, text=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == "Error: initprobe.torch needs PyTorch: pip install 'initprobe[torch]'"


def test_torch_is_imported_by_nothing_else():
    code = (
        "import sys; from initprobe.cli.app import cli; import initprobe.testing; "
        "[cli.get_command(None, name) for name in cli.list_commands(None)]; "
        "import initprobe; initprobe.run(initprobe.ProbeConfig(init='he', act='relu', layers=2, width=9)).table(); "
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
