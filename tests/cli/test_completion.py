"""TAB: whatever has a name is offered, in the protocol of each shell, and quickly."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.cli.app import COMMANDS, cli
from initprobe.cli.candidates import completer_of
from initprobe.cli.completion import complete
from initprobe.config.thresholds import Thresholds
from initprobe.data.noise import DATASETS, INPUTS
from initprobe.diagnosis.width_verdict import WIDTH_RULES
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.reports.glossary import WORDS
from initprobe.results import named_numbers
from initprobe.sweeps.shipped_configs import shipped
from initprobe.torch.verdict.rulebook import RULEBOOK

PROGRAM = [sys.executable, "-m", "initprobe"]


@pytest.fixture
def offered(capsys, monkeypatch, tmp_path):
    """The candidates for the last word of a line, whole, as a shell that splits no words gets them."""
    monkeypatch.chdir(tmp_path)

    def ask(line, place=None, shell="bash"):
        words = line.split(" ")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(place or len(words) - 1))
        assert complete(cli, f"{shell}_complete") == 0
        return capsys.readouterr().out.splitlines()

    return ask


def plain(lines):
    """The candidates that are words, not files for the shell to find."""
    return [line.removeprefix("plain,") for line in lines if line.startswith("plain,")]


def commands():
    ctx = click.Context(cli)
    return [(name, cli.get_command(ctx, name)) for name in COMMANDS]


def test_commands_and_options_are_completed(offered):
    assert plain(offered("initprobe ")) == list(COMMANDS)
    for name, command in commands():
        options = {
            option for p in command.params if isinstance(p, click.Option) for option in p.opts if option[:2] == "--"
        }
        assert options <= set(plain(offered(f"initprobe {name} --")))


SPECIAL = set(" '*?[]()~")  # to a shell, so that they are not offered
TYPED = [name for name in WORDS if not set(name) & SPECIAL]
NAMES = [
    ("run --init", INITIALIZERS),
    ("run --bias-init", INITIALIZERS),
    ("compare --init he --init", INITIALIZERS),
    ("phase --mark", INITIALIZERS),
    ("run --act", ACTIVATIONS),
    ("gain", ACTIVATIONS),
    ("recommend --act", ACTIVATIONS),
    ("run --input", INPUTS),
    ("run --labels", DATASETS),
    ("explain", {**INITIALIZERS, **ACTIVATIONS, **INPUTS, **RULEBOOK, **WIDTH_RULES, **dict.fromkeys(TYPED)}),
    ("sweep", shipped()),
    ("check", shipped()),
    ("validate a.yaml", shipped()),
    ("run --threshold", Thresholds.model_fields),
]


@pytest.mark.parametrize(("words", "names"), NAMES, ids=[words for words, _ in NAMES])
def test_every_name_is_offered_as_it_can_be_used(offered, words, names):
    candidates = plain(offered(f"initprobe {words} "))
    assert {candidate.partition(":")[0].partition("=")[0] for candidate in candidates} == set(names)
    for name in names:
        assert any(candidate.startswith(name) for candidate in plain(offered(f"initprobe {words} {name[:-1]}")))


NUMBERS = [("results x --columns verdict,", named_numbers.NAMES), ("check x --sort ", named_numbers.NAMES),
           ("diff a b --fail-on ", named_numbers.COMPARED),
           ("check x --ignore ", (*RULEBOOK, *named_numbers.NAMES))]  # fmt: skip


@pytest.mark.parametrize(("words", "names"), NUMBERS, ids=[words for words, _ in NUMBERS])
def test_the_numbers_that_are_offered_are_those_that_are_taken(offered, words, names):
    candidates = plain(offered(f"initprobe {words}"))
    assert sorted(candidate.rpartition(",")[2] for candidate in candidates) == sorted(names)


@pytest.mark.parametrize("registry", [INITIALIZERS, ACTIVATIONS, INPUTS], ids=lambda registry: registry.kind)
def test_every_parameter_is_offered_with_a_value_that_works(offered, registry):
    from initprobe.config.names import resolve
    from initprobe.spec import Spec, parse_spec

    option = {"initializer": "--init", "activation": "--act", "input": "--input"}[registry.kind]
    for record in registry.values():
        candidates = plain(offered(f"initprobe run {option} {record.name}:"))
        assert {candidate.partition(":")[2].partition("=")[0] for candidate in candidates} >= set(
            record.params if record.make else ()
        )
        for spec in candidates:
            # A parameter that may be absent has no value to offer, and two make sense together only.
            if not spec.endswith("=") and "low=" not in spec and "high=" not in spec:
                asked, example = parse_spec(spec), parse_spec(getattr(record, "example", record.name))
                resolve(registry, Spec(asked.name, {**example.params, **asked.params}))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("initprobe run --init he:mode=", ["he:mode=fan_in", "he:mode=fan_out", "he:mode=fan_avg"]),
        ("initprobe run --init he:mode=fan_out,ga", ["he:mode=fan_out,gain=1"]),
        ("initprobe run --init=he:mode=fan_o", ["--init=he:mode=fan_out"]),
        ("initprobe run --init glo", ["glorot_normal", "glorot", "glorot_uniform"]),
        ("initprobe run --norm ", ["none", "layer", "batch"]),
        ("initprobe run --fail-on ", ["warning", "error"]),
        ("initprobe diff a b --fail-on ver", ["verdict"]),
        ("initprobe results x --columns verdict,output.rm", ["verdict,output.rms"]),
        ("initprobe results x --sort=theory.z", ["--sort=theory.z"]),
        ("initprobe list conf", ["configs"]),
        ("initprobe run --init nothing:", []),
        ("initprobe nothing --init ", list(COMMANDS)),
        ("initprobe run --act 'tan", ["tanh"]),
    ],
)
def test_completion_for_each_shell_gives_its_lines(offered, line, words):
    assert sorted(plain(offered(line))) == sorted(words)


def test_data_files_are_offered_beside_names_and_others_by_the_shell(offered, tmp_path):
    for name in ("x.npy", "notes.txt", "zz.yaml"):
        (tmp_path / name).touch()
    assert plain(offered("initprobe run --input x")) == ["x.npy"]
    assert plain(offered("initprobe sweep z")) == ["zz.yaml"]
    assert offered("initprobe run --input ./x") == ["file,./x"]
    assert offered("initprobe run --weights ") == ["file,"]
    assert offered("initprobe run -o ") == ["dir,"]


@pytest.mark.parametrize(
    ("words", "rest"),
    [
        (["--init", "he", ":", "mo"], ["mode=fan_in", "mode=fan_out", "mode=fan_avg"]),
        (["--init", "he", ":"], ["gain=1", "mode=fan_in", "mode=fan_out", "mode=fan_avg", "slope=0.0"]),
        (["--init", "he", ":", "mode", "=", "fan_o"], ["fan_out"]),
        (["--init", "=", "xavier_n"], ["xavier_normal"]),
        (["--threshold", "saturated", "="], ["0.5"]),
        (["--init", "he", ":", "mode", "=", "fan_in", "--act", "leaky_relu", ":"], ["slope=0.01"]),
    ],
)
def test_bash_splits_words_and_keeps_what_stands_before_the_break(offered, words, rest):
    line = " ".join(["initprobe", "run", *words])
    assert plain(offered(line)) == rest


def test_zsh_and_fish_show_what_a_name_means(offered):
    assert offered("initprobe run --init xavier_n", shell="zsh")[2] == INITIALIZERS["xavier_normal"].formula
    (line,) = offered("initprobe run --init xavier_n", shell="fish")
    assert line == f"plain,xavier_normal\t{INITIALIZERS['xavier_normal'].formula}"


# Free text, numbers in text, and what the machine names itself.
FREE = {
    "sigma_w", "sigma_ws", "sigma_b", "widths", "branch_scale", "shapes", "target", "overrides", "where",
    "scheduler", "shard", "rows", "formats", "out", "reason", "until", "loss", "labels", "keep",
}  # fmt: skip


def test_every_parameter_with_names_has_an_offer():
    """A new option is completed, or is put on the list above on purpose."""
    for name, command in commands():
        for parameter in command.params:
            texts = isinstance(parameter.type, type(click.STRING)) and not getattr(parameter, "is_flag", False)
            offers = parameter._custom_shell_complete or completer_of(parameter)
            assert not texts or parameter.name in FREE or offers, (name, parameter.name)


def answer(instruction, line="", place=0):
    about = {"_INITPROBE_COMPLETE": instruction, "COMP_WORDS": line, "COMP_CWORD": str(place)}
    return subprocess.run(PROGRAM, env=os.environ | about, capture_output=True, text=True)


def test_completion_prints_candidates_and_nothing_else():
    done = answer("bash_complete", "initprobe run --init xavier_n", 3)
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,xavier_normal\n", "")


def test_an_unknown_shell_is_an_error_of_one_line():
    done = answer("tcsh_source")
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1


HEAVY = ("scipy", "matplotlib", "pydantic", "rich", "ruamel")


@pytest.mark.parametrize("words", ["", "run --", "run --init ", "run --act ge", "sweep "])
def test_completion_answers_quickly(words):
    """What is imported decides how long it takes. The time itself is that of a machine at rest, several times over."""
    code = (
        "import sys; from initprobe.cli.app import cli; from initprobe.cli.completion import complete;"
        "complete(cli, 'bash_complete'); print([m for m in sys.argv[1:] if m in sys.modules], file=sys.stderr)"
    )
    line = f"initprobe {words}"
    about = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    heavy = HEAVY if "--init" in words or "--act" in words else (*HEAVY, "numpy")
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy], env=os.environ | about, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]" and "plain," in done.stdout
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_line_for_each_shell_is_in_the_readme(shell):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"_INITPROBE_COMPLETE={shell}_source initprobe" in readme
    done = answer(f"{shell}_source")
    assert done.returncode == 0 and "_initprobe_completion" in done.stdout and not done.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_completion_works_in_bash(tmp_path):
    """Its own function, given the words as bash splits them."""
    home = Path(sys.executable).parent
    script = tmp_path / "initprobe.bash"
    script.write_text(answer("bash_source").stdout)
    ask = (
        f"source {script}; COMP_WORDS=(initprobe run --init he : mode = fan_o); COMP_CWORD=7;"
        "_initprobe_completion initprobe; echo ${COMPREPLY[@]}"
    )
    path = f"{home}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", ask], env=os.environ | {"PATH": path}, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.split() == ["fan_out"], done.stderr
