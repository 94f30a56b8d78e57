"""Command lines from click's own tree, monstrous values and monstrous paths among them, and where they are run."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import random
import shutil
import signal
import socket
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from thread_workers import thread_workers

import initprobe
from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.cli.app import COMMANDS, cli, main
from initprobe.data.noise import INPUTS
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.registry import Registry

# Nets are tiny and counts are either small or beyond every bound: no call takes long unless it hangs.
PATIENCE_S = 60
SMALL_COUNTS = ("1", "2", "3", "4", "5")
MONSTROUS_NUMBERS = (
    *("0", "-1", "-3", "1.5", "nan", "inf", "-inf", "1e20", "1e400", "1e-400", "0x10", "1_000", "1000000000000"),
    *("9223372036854775808", "-100000000000000000000", "100000000000000000000", "\u0661", "\xb2", "1/0", "sqrt(-1)"),
    *("pi", "9" * 400, "9" * 5000, "", " ", "3 "),
)
MONSTROUS_TEXTS = (
    *("", " ", "-", "--", ":", "=", ",", "a=", "=1", "::", ":a", "a:b=c", "a:b=1,b=2", "../..", "$x^", "%s", "{0}"),
    *("\x1b[31mred\x1b[0m", "a\nb", "\r::error::x", "a\tb", "\x00", "\udcff", "\u202eabc", "[/bold]", "[red]x"),
    *(":smile:", "z" * 300, "x" * 100_000, "a:" * 500, "0," * 3000, "(" * 90, "\xe9" * 100, "[" * 1000, "{a: " * 30),
    *("*a", "&a [*a]"),
)
# What gets further than the parser, by the name of an option or an argument. A new option needs no entry here.
SENSIBLE = {
    "init": "he xavier normal:std=0.1 torch_linear orthogonal lsuv autoencoder critical sparse:density=0.5 zeros",
    "bias_init": "zeros normal:std=0.1 constant:value=1e300",
    "act": "tanh relu gelu leaky_relu:slope=0.2 identity elu:alpha=2 nothing:f json:loads",
    "sigma_w": "1 0.5 sqrt(2) 0 1e150 0.5..2 0..1e300",
    "sigma_b": "0 0.1 0..1 0.5",
    "widths": "3,4 5 2,2,2 0 1,-1",
    "input_": "gaussian uniform gaussian:correlation=0.5 uniform:low=1,high=0 good.npy good.npz good.csv",
    "norm": "none layer batch",
    "branch_scale": "1 1/L 1/sqrt(2L) 0",
    "dtype": "float32 float64 float16",
    "loss": "random cross-entropy mse",
    "labels": "labels.npy",
    "thresholds": "saturated=0.3 dead=1 dead=-1",
    "formats": "png svg pdf png,svg gif",
    "config": "sweep.yaml",
    "files": "sweep.yaml article_figures",
    "overrides": "layers=2 grid.act=[relu,tanh] figures= name=b draws=2 checks={healthy:true} export=[csv]",
    "where": "act=relu act=tanh seed=0 init=he sigma_w=6/5",
    "shard": "1/2 2/2 3/2 1/100000000000000000000",
    "sort": "act -act verdict -output.variance",
    "columns": "verdict,layer theory.z",
    "rows": "all 1 0",
    "store": "sweep.db kept",
    "stores": "sweep.db kept",
    "old": "sweep.db kept result.json",
    "new": "sweep.db kept result.json",
    "fail_on": "verdict missing figures:1% output.variance:10% theory.z:0.5 figures:1e400%",
    "file": "result.json",
    "weights": "weights.npz",
    "target": "nothing:make json:loads os:getcwd",
    "shape": "4,3 2 4,3,8,8",
    "kind": "initializers rules configs",
    "name": "he tanh gaussian rank-collapse normal:std=2 json:loads",
    "activations": "tanh relu gelu",
    "marks": "xavier he:gain=2",
    "scheduler": "nowhere",
}
_PATH_WORDS = ("FILE", "DIR", "STORE", "CONFIG", "RESULT")
_PATH_NAMES = ("store", "config", "old", "new", "input_", "name")
_OUTPUTS = ("out.json", "out.csv", "out.png", "out.svg", "out.npz", "new", "new/deep", "-")
_EXTREMES = ("0", "-1", "1e-300", "5e-324", "1e38", "1e154", "1e300", "1/3", "true")
_REGISTRIES: dict[str, Registry[Any]] = {
    **dict.fromkeys(("init", "bias_init", "mark"), INITIALIZERS),
    **dict.fromkeys(("act", "activation", "name"), ACTIVATIONS),
    "input_": INPUTS,
}
# Left at their defaults these would make a call long.
_ALWAYS = {"layers": "2", "width": "4", "batch": "8", "draws": "1", "size": "4", "samples": "2"}


@dataclass(frozen=True)
class Outcome:
    """What became of a call."""

    code: int
    said: str


@dataclass
class World:
    """A directory of good and hostile files, kept as it was, and one beside it that calls run in."""

    home: Path
    paths: list[str] = field(default_factory=list)
    _kept: dict[Path, bytes] = field(default_factory=dict)

    @classmethod
    def at(cls, home: Path) -> World:
        """Make it below a directory."""
        world = cls(home)
        _make_good(home)
        world._kept = {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}
        world.paths = [path.name for path in sorted(home.iterdir())] + _make_hostile(home)
        return world

    def run(self, args: list[str]) -> Outcome:
        """A call of the program, in this process; what it breaks is put back."""
        self._restore()
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape", write_through=True)
        with contextlib.chdir(self.home), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), _patience():
            try:
                main(args)
            except SystemExit as stop:
                code = int(stop.code or 0)
            except Exception:
                traceback.print_exc()
                code = 70
        return Outcome(code, out.buffer.getvalue().decode("utf-8", "replace"))  # type: ignore[attr-defined]

    def _restore(self) -> None:
        for path, data in self._kept.items():
            if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        shutil.rmtree(self.home / "initprobe-out", ignore_errors=True)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _StalledError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class _StalledError(BaseException):
    """A call that does not end."""


def _make_good(home: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(home / "good.npy", rng.normal(size=(8, 3)))
    np.savez(home / "good.npz", x=rng.normal(size=(8, 3)))
    np.savetxt(home / "good.csv", rng.normal(size=(8, 3)), delimiter=",")
    np.save(home / "labels.npy", np.arange(8) % 3)
    np.savez(home / "weights.npz", W1=rng.normal(size=(3, 4)), W2=rng.normal(size=(4, 4)))
    fields = "init: he, act: relu, layers: 2, width: 4, batch: 8, draws: 1"
    text = f"version: 1\nname: a\ndefaults: {{{fields}}}\ngrid: {{act: [relu, tanh]}}\nchecks: {{healthy: true}}\n"
    (home / "sweep.yaml").write_text(text)
    result = initprobe.run(initprobe.ProbeConfig(init="he", act="relu", layers=2, width=4, batch=8, draws=1))
    (home / "result.json").write_text(result.to_json())
    (home / "kept").mkdir()
    _make_store(home / "sweep.yaml", home / "sweep.db")
    shutil.copy(home / "sweep.db", home / "kept/sweep.db")


def _make_store(config: Path, store: Path) -> None:
    from initprobe.sweeps.execution_runner import execute
    from initprobe.sweeps.plan import load
    from initprobe.sweeps.store import open_store

    with open_store(store) as opened:
        execute(load(config).runs, opened, thread_workers())


def _make_hostile(home: Path) -> list[str]:
    """Files that are not what they seem, and paths of which nothing good comes."""
    (home / "empty").mkdir()
    (home / "loop").symlink_to("loop")
    (home / "loop.npy").symlink_to("loop.npy")
    os.mkfifo(home / "pipe.json")
    os.mkfifo(home / "pipe.npy")
    with socket.socket(socket.AF_UNIX) as here, contextlib.chdir(home):
        here.bind("socket.npz")
    for suffix in ("npy", "npz", "csv", "json", "yaml", "db"):
        (home / f"nothing.{suffix}").touch()
        (home / f"noise.{suffix}").write_bytes(random.Random(suffix).randbytes(2000))
        (home / f"zeros.{suffix}").write_bytes(bytes(5000))
        (home / f"folder.{suffix}").mkdir()
        with (home / f"sparse.{suffix}").open("wb") as file:
            file.truncate(1 << 43)
    for name in ("result.json", "sweep.db", "weights.npz", "good.npy"):
        data = (home / name).read_bytes()
        (home / f"cut-{name}").write_bytes(data[: len(data) // 2])
    np.savez_compressed(home / "bomb.npz", W1=np.zeros((1 << 13, 1 << 13)), x=np.zeros((2, 2)))
    (home / "$x^\x1b[31m[red].npy").write_bytes((home / "good.npy").read_bytes())
    (home / "list.json").write_text("[" * 100_000)
    (home / "runs.json").write_text('{"runs": [1, {"state": 1}, {"state": "done", "axes": []}]}')
    made = [path.name for path in home.iterdir()]
    outside = ["", ".", "..", "-", "./", "no/such/dir/a.json", "good.npy/a.json", "good.npy/", "a\x00b.npy"]
    devices = ["/dev/zero", "/dev/null", "/dev/full", "/dev/fd/0", "/proc/self/mem", "/proc/version/a", "/proc/a.json"]
    odd = ["n" * 300 + ".npy", "d/" * 3000 + "a.json", "\x1b]0;t\x07.json", "a\n::error::b.json", "\udcff.npy"]
    return [*made, *outside, *devices, *odd, "loop/a.png"]


@dataclass(frozen=True)
class Grammar:
    """Makes command lines from click's tree: new commands and options are in it without an edit."""

    paths: list[str]

    def call(self, rng: random.Random) -> list[str]:
        """A command line."""
        name = rng.choice(list(COMMANDS))
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        args, wildness = [name], rng.choice((0.02, 0.1, 0.3, 0.7))
        for param in command.params:
            args += self._given(param, rng, wildness)
        if rng.random() < 0.02:
            args.insert(rng.randrange(len(args) + 1), rng.choice(MONSTROUS_TEXTS))
        return args

    def _given(self, param: click.Parameter, rng: random.Random, wildness: float) -> list[str]:
        if isinstance(param, click.Argument):
            count = 1 if param.nargs == 1 else rng.choice((0, 1, 1, 2))
            return [self._value(param, rng, wildness) for _ in range(count)]
        assert isinstance(param, click.Option)
        small = _ALWAYS.get(str(param.name))
        if small is not None and rng.random() > wildness:
            return [param.opts[0], small]
        likely = 0.9 if param.required or param.name in ("init", "act", "inits") else 0.12
        if small is None and rng.random() > likely:
            return []
        if param.is_flag:
            return [rng.choice(param.opts)]
        values = [self._value(param, rng, wildness) for _ in range(rng.choice((1, 1, 2)) if param.multiple else 1)]
        return [part for value in values for part in _spelt(param, value, rng)]

    def _value(self, param: click.Parameter, rng: random.Random, wildness: float) -> str:
        name, metavar = str(param.name), str(param.metavar or "").upper()
        is_path = any(word in metavar for word in _PATH_WORDS) or name in _PATH_NAMES
        if rng.random() < wildness:
            return _monster(self.paths if is_path else [], rng)
        if isinstance(param.type, click.Choice):
            return str(rng.choice(list(param.type.choices)))
        singular = name.removesuffix("s")
        if singular in _REGISTRIES and rng.random() < 0.4:
            return _spec(_REGISTRIES[singular], rng)
        if sensible := SENSIBLE.get(name, SENSIBLE.get(singular, "")).split():
            return rng.choice(sensible)
        return rng.choice(_OUTPUTS if is_path else SMALL_COUNTS)


def _monster(paths: list[str], rng: random.Random) -> str:
    if paths and rng.random() < 0.8:
        return rng.choice(paths)
    return rng.choice(MONSTROUS_NUMBERS if rng.random() < 0.5 else MONSTROUS_TEXTS)


def _spec(registry: Registry[Any], rng: random.Random) -> str:
    """A name that there is with a parameter that it has, whose value is legal or far from it."""
    record = registry[rng.choice(list(registry))]
    keys = list(inspect.signature(record.make).parameters) if record.make else []
    numbers = [*SMALL_COUNTS, *_EXTREMES] if rng.random() < 0.7 else MONSTROUS_NUMBERS
    return f"{record.name}:{rng.choice(keys)}={rng.choice(numbers)}" if keys else record.name


def _spelt(option: click.Option, value: str, rng: random.Random) -> list[str]:
    """`--option value` or `--option=value`."""
    name = rng.choice(option.opts)
    return [f"{name}={value}"] if name.startswith("--") and rng.random() < 0.3 else [name, value]
