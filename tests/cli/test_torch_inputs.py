"""`initprobe torch` from the shell: several inputs, ids, functions, losses, wrapped checkpoints, libraries' models."""

import json
import math
import re
import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

NET = """
import torch
from torch import nn


def make():
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(50, 16), nn.Linear(16, 7)
        self.seen = {}

    def forward(self, ids, mask=None, *, scale=None):
        Tagger.seen = {"ids": ids, "mask": mask, "scale": scale}
        h = self.embed(ids)
        h = h if mask is None else h * mask[..., None]
        return {"hidden": h, "logits": self.out(h if scale is None else h * scale)}


class Pixels(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 4, 3, padding=1)


class Anything(nn.Linear):
    def __init__(self):
        super().__init__(20, 30)

    def forward(self, *given, **named):
        return super().forward(given[0] if given else named["x"])


def batch():
    return torch.randn(8, 20).double()


def named():
    import numpy
    return {"ids": torch.randint(0, 50, (3, 4)), "mask": numpy.ones((3, 4))}


def mask():
    return torch.ones(4, 6, dtype=torch.bool)


def loss(output):
    return output.square().sum()


def wrong():
    raise ValueError("no data today")


number = 3
"""


@pytest.fixture
def net(tmp_path):
    """The nets above as a module in the working directory."""
    (tmp_path / "shell_net.py").write_text(NET)
    yield
    sys.modules.pop("shell_net", None)


@pytest.fixture
def say(initprobe, net):
    """The JSON of `initprobe torch ARGUMENTS`."""

    def call(*arguments):
        done = initprobe("torch", *arguments, "--no-figures", "--export-json", "-")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return call


def seen():
    """What the tagger was called with last."""
    return sys.modules["shell_net"].Tagger.seen


def test_ids_in_a_range_by_place(say):
    result = say("shell_net:Tagger", "--input-shape", "4,6:10..19")
    assert result["config"]["input"] == "4 x 6"
    ids = seen()["ids"]
    assert ids.dtype == torch.int64 and int(ids.min()) >= 10 and int(ids.max()) <= 19 and seen()["mask"] is None


def test_both_ends_of_a_range_are_drawn(say):
    say("shell_net:Tagger", "--input-shape", "40x60:3..5")
    assert set(seen()["ids"].unique().tolist()) == {3, 4, 5}


def test_several_inputs_by_place_and_by_name(say):
    say("shell_net:Tagger", "--input-shape", "4,6:0..49", "--input-shape", "4,6:1..1")
    assert torch.equal(seen()["mask"], torch.ones(4, 6, dtype=torch.int64))
    say("shell_net:Tagger", "--input-shape", "scale=16", "--input-shape", "4,6:0..49")
    assert seen()["scale"].shape == (16,) and seen()["mask"] is None and seen()["scale"].dtype == torch.float32


def test_two_of_the_same_shape_differ(say):
    say("shell_net:Tagger", "--input-shape", "ids=4,6:0..49", "--input-shape", "mask=4,6:0..49")
    assert not torch.equal(seen()["ids"], seen()["mask"])


def test_the_names_of_an_archive_are_arguments(say, tmp_path):
    ids = np.arange(24).reshape(4, 6)
    np.savez(tmp_path / "batch.npz", ids=ids.astype(np.int32), mask=ids > 5)
    say("shell_net:Tagger", "--input", "batch.npz")
    assert torch.equal(seen()["ids"], torch.from_numpy(ids)) and seen()["mask"].dtype == torch.bool
    np.savez(tmp_path / "one.npz", tokens=ids)
    say("shell_net:Tagger", "--input", "one.npz")
    np.savez(tmp_path / "data.npz", x=np.ones((4, 20)), y=np.zeros(4))
    assert say("shell_net:make", "--input", "data.npz")["config"]["input"] == "4 x 20"
    np.save(tmp_path / "mask.npy", np.ones((4, 6)))
    say("shell_net:Tagger", "--input", "mask=mask.npy", "--input", "one.npz")
    assert seen()["mask"].dtype == torch.float32


def test_functions_make_inputs(say):
    assert say("shell_net:make", "--input", "shell_net:batch")["config"]["input"] == "8 x 20"
    say("shell_net:Tagger", "--input", "shell_net:named")
    assert seen()["mask"].dtype == torch.float32
    say("shell_net:Tagger", "--input", "mask=shell_net:mask", "--input-shape", "ids=4,6:0..49")
    assert seen()["mask"].dtype == torch.bool


def test_cross_entropy_starts_near_chance(say, tmp_path):
    result = say("shell_net:Tagger", "--input-shape", "64,6:0..49", "--loss", "cross-entropy")
    assert result["config"]["loss"] == "cross-entropy"
    start = next(
        float(match[1]) for note in result["notes"] if (match := re.match(r"loss at the start: ([\d.]+\d)", note))
    )
    assert start == pytest.approx(math.log(7), abs=0.5)
    labels = np.arange(8) % 5
    for name, held in (("y.npy", labels), ("y.csv", labels[:, None])):
        np.save(tmp_path / name, held) if name.endswith("npy") else np.savetxt(tmp_path / name, held, delimiter=",")
        say("shell_net:make", "--input", "shell_net:batch", "--loss", "ce", "--labels", name)
    say("shell_net:make", "--input", "shell_net:batch", "--loss", "ce", "--labels", "8:0..4")


def test_the_loss_is_that_of_torch(say, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(2, 3, 5, 5)), np.random.default_rng(1).integers(0, 4, (2, 5, 5))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    result = say(
        "shell_net:Pixels", "--input", "x.npy", "--loss", "cross-entropy", "--labels", "y.npy", "--dtype", "float64"
    )
    torch.random.manual_seed(0)
    model = nn.Conv2d(3, 4, 3, padding=1).double()
    right = float(nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y)).detach())
    assert any(f"loss at the start: {right:.4g}" in note for note in result["notes"]), result["notes"]


def test_other_losses_are_accepted(say, tmp_path):
    say("shell_net:make", "--input-shape", "8,20", "--loss", "mse")
    np.save(tmp_path / "t.npy", np.ones((8, 5)))
    say("shell_net:make", "--input-shape", "8,20", "--loss", "mse", "--labels", "t.npy")
    assert say("shell_net:make", "--input-shape", "8,20", "--loss", "shell_net:loss")["config"]["loss"] == "loss"


@pytest.mark.parametrize("wrapper", ["model_state_dict", "state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_checkpoints_are_unwrapped(say, tmp_path, wrapper, prefix):
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    nn.init.constant_(model[0].weight, 0.25)
    held = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 3, wrapper: held, "optimizer": {"lr": 0.1}} if wrapper else held, tmp_path / "c.pt")
    result = say("shell_net:make", "--input-shape", "4,20", "--checkpoint", "c.pt")
    assert result["layers"][0]["weight"]["mean"] == 0.25
    notes = [note for note in result["notes"] if note.startswith("c.pt: ")]
    assert len(notes) == bool(wrapper or prefix)
    assert all(f"stripped {part}. from 4 names" in notes[0] for part in prefix.split(".") if part)
    assert not wrapper or f"took its {wrapper}" in notes[0]


def test_a_prefix_inside_a_name_and_one_that_is_the_models_own():
    from initprobe.torch.checkpoints import _renamed

    own = nn.ModuleDict({"body": nn.Linear(2, 2), "module": nn.Linear(2, 2)}).state_dict()
    held = {name.replace("body.", "body._orig_mod."): tensor for name, tensor in own.items()}
    fitting, stripped = _renamed(held, own)
    assert list(fitting) == list(own) and stripped == ["stripped _orig_mod. from 2 names"]
    assert _renamed(own, own)[1] == []


FAULTS = [
    (
        ["shell_net:Tagger", "--input-shape", "id=4,6:0..9"],
        "forward of Tagger takes ids, mask, scale, not 'id'. Did you",
    ),
    (
        ["shell_net:Tagger", "--input-shape", "ids=4,6:0..9", "--input-shape", "ids=4,6:0..9"],
        "input ids is given twice",
    ),
    (["shell_net:Tagger", *["--input-shape", "4,6:0..9"] * 3, "--input-shape", "mask=4,6"], "name every input"),
    (["shell_net:Tagger", "--input-shape", "4,6:9..0"], "from LOW to HIGH"),
    (["shell_net:Tagger", "--input-shape", "4,6:0.."], "is not a list of sizes like 64,784"),
    (["shell_net:Tagger", "--input-shape", "4,6:0..70"], "for an embedding of 50 rows: IndexError"),
    (["shell_net:make", "--input", "x.npy", "--input-shape", "4,20"], "together need names"),
    (["shell_net:Tagger", "--input", "odd.npz"], "odd.npz: holds q, r; forward of Tagger takes ids, mask, scale"),
    (["shell_net:make", "--input", "shell_net:absent"], "shell_net.py has no 'absent'"),
    (["shell_net:make", "--input", "shell_net:wrong"], "--input shell_net:wrong() fails: ValueError: no data today"),
    (["shell_net:make", "--input", "shell_net:number"], "is of type int; name a function"),
    (["shell_net:make", "--input", "x.txt"], "x.txt: no such file"),
    (["shell_net:make", "--input-shape", "8,20", "--labels", "8:0..4"], "add --loss cross-entropy"),
    (["shell_net:make", "--input-shape", "8,20", "--loss", "ce", "--labels", "8:0..5"], "give 8 of 0 to 4"),
    (["shell_net:make", "--input-shape", "8,20", "--loss", "ce", "--labels", "7:0..4"], "do not fit logits of 8 x 5"),
    (["shell_net:make", "--input-shape", "8,20", "--loss", "ce", "--labels", "8,20"], "has no range; write 8,20:0..9"),
    (["shell_net:make", "--input-shape", "8,20", "--loss", "ce", "--labels", "no.npy"], "no.npy: no such file"),
    (["shell_net:make", "--input-shape", "8,20", "--loss", "ce", "--labels", "f.npy"], "f.npy: holds fractions"),
    (
        ["shell_net:make", "--input-shape", "8,20", "--loss", "mse", "--labels", "f.npy"],
        "do not fit an output of 8 x 5",
    ),
    (["shell_net:make", "--input-shape", "8,20", "--loss", "cross-entrop"], "Did you mean 'cross-entropy'"),
    (["shell_net:make", "--input-shape", "8,20", "--loss", "shell_net:wrong"], "--loss fails on its output: TypeError"),
    (["hf:absent"], "absent: holds no config.json; nothing is downloaded"),
]


@pytest.mark.parametrize(("arguments", "words"), FAULTS, ids=[" ".join(a) for a, _ in FAULTS])
@pytest.mark.usefixtures("net")
def test_every_user_fault_is_one_line(initprobe, tmp_path, arguments, words):
    np.save(tmp_path / "x.npy", np.ones((4, 20)))
    np.save(tmp_path / "f.npy", np.full(8, 0.5))
    np.savez(tmp_path / "odd.npz", q=np.ones(3), r=np.ones(3))
    done = initprobe("torch", *arguments, "--no-figures")
    assert done.code == 2, done.out + done.err
    assert words in done.err and len(done.err.splitlines()) == 1, done.err


def test_a_model_without_argument_names(say):
    say("shell_net:Anything", "--input-shape", "x=4,20")
    say("shell_net:Anything", "--input-shape", "4,20", "--input-shape", "4,20")


@pytest.fixture
def libraries(monkeypatch):
    """Small stand-ins for timm and torchvision."""

    def small(name, **options):
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, 10), nn.ReLU(), nn.Linear(10, 4))
        model.pretrained_cfg = {"input_size": (3, 4, 4)}
        assert options in ({"pretrained": False}, {"weights": None})
        return model

    weights = types.SimpleNamespace(transforms=types.SimpleNamespace(keywords={"crop_size": 4}))
    timm = types.SimpleNamespace(is_model="tiny".__eq__, list_models=lambda: ["tiny"], create_model=small)
    models = types.SimpleNamespace(
        list_models=lambda: ["tiny"], get_model=small, get_model_builder=lambda name: small,
        get_model_weights=lambda name: [weights],
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(models=models))
    return monkeypatch


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_models_of_libraries_are_made(say, initprobe, library):
    result = say(f"{library}:tiny")
    assert result["config"]["input"] == "8 x 3 x 4 x 4"
    assert result["notes"][0] == "no input was named, so it is --input-shape 8,3,4,4"
    assert say(f"{library}:tiny", "--input-shape", "2,3,4,4")["config"]["input"] == "2 x 3 x 4 x 4"
    done = initprobe("torch", f"{library}:tiny2")
    assert (done.code, f"{library} has no model 'tiny2'. Did you mean 'tiny'?" in done.err) == (2, True)


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    ("target", "library"), [("timm:x", "timm"), ("torchvision:x", "torchvision"), ("hf:.", "transformers")]
)
def test_a_missing_library_is_named(initprobe, monkeypatch, tmp_path, target, library):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, library, None)
    done = initprobe("torch", target)
    assert (done.code, done.err.strip()) == (2, f"Error: {target} needs {library}: pip install {library}")
