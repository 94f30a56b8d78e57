"""The rooms: where each library may be imported, and how long files and functions may be. The layers are contracts."""

import ast
import re
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import initprobe

ROOT = Path(initprobe.__file__).parent
# Libraries that one room, or one file, hides from the others. Those of the layers are in pyproject.toml.
HOMES = {
    "matplotlib": ["reports/figures/"],
    "rich": ["cli/", "reports/"],
    "distributed": ["sweeps/execution_dask.py"],
    "psutil": ["data/machine.py"],
    "ruamel": ["data/documents.py"],
}  # fmt: skip
MODULES = sorted(path for path in ROOT.rglob("*.py") if "configs" not in path.relative_to(ROOT).parts)
MOST_WORDS = 20
SQL = re.compile(r"\s*(CREATE|INSERT|SELECT|UPDATE|DELETE) ")
MOST_PACKAGES, MOST_FLAT, MOST_LINES, MOST_FUNCTION, MEDIAN_FUNCTION = 22, 9, 350, 45, 7


def named(path):
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path):
    return ast.parse(path.read_text())


def imports(path):
    """Modules imported anywhere in a file, outside `if TYPE_CHECKING`."""
    tree = parsed(path)
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions():
    """Each function with its lines, docstring included."""
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{named(path)}:{node.name}", node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_its_home(library):
    for path in MODULES:
        if any(name.split(".")[0] == library for name in imports(path)):
            assert any(named(path).startswith(home) for home in HOMES[library]), f"{path} imports {library}"


def test_pyplot_is_never_used():
    assert not [path for path in MODULES if any("pyplot" in name for name in imports(path))]


def test_rooms_are_few_and_no_package_hides_a_public_function():
    packages = {path.parent for path in MODULES}
    assert len(packages) <= MOST_PACKAGES
    assert all((package / "__init__.py").exists() for package in packages)
    assert len([path for path in MODULES if path.parent == ROOT]) <= MOST_FLAT
    hidden = {name for name in initprobe.__all__ if (ROOT / name).is_dir() or (ROOT / f"{name}.py").exists()}
    assert not hidden


def test_files_and_functions_are_short():
    long = {named(path): lines for path in MODULES if (lines := len(path.read_text().splitlines())) > MOST_LINES}
    assert not long
    assert not {name: lines for name, lines in functions() if lines > MOST_FUNCTION}
    assert statistics.median(lines for _, lines in functions()) <= MEDIAN_FUNCTION


def documented(path):
    """What may have a docstring: the module, its classes and functions."""
    return (node for node in ast.walk(parsed(path)) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef))


def public_functions(node, owner=""):
    for child in ast.iter_child_nodes(node):
        if getattr(child, "name", "_").startswith("_"):
            continue
        if isinstance(child, ast.ClassDef):
            yield from public_functions(child, f"{child.name}.")
        elif isinstance(child, ast.FunctionDef):
            yield owner, child


def test_arguments_are_described():
    """Public functions of several arguments have a section, or name each in the sentence; click describes its own."""
    for path in MODULES:
        for owner, function in public_functions(parsed(path)):
            arguments = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
            names = [name for name in arguments if name not in ("self", "cls")]
            text = ast.get_docstring(function) or ""
            is_described = "Args:" in text or "arguments as in" in text or all(f"`{name}`" in text for name in names)
            assert len(names) < 2 or owner == "LazyGroup." or is_described, f"{named(path)}: {owner}{function.name}"


def sentences(text):
    """The sentences of a docstring or a message. A piece of code in backticks is one word."""
    for block in re.split(r"\n\s*\n", re.sub(r"`[^`]*`", "code", text)):
        if "──" in block or "|--" in block or block.startswith(("\b", "    ")):
            continue  # trees, tables, commands that click leaves as they stand, and indented code or formulas
        for item in re.split(r"\n(?=\s*[-*] |\s*[\w*.\[\], ]{1,40}: |    .*  )", block):
            line = " ".join(item.split()).replace("et al.", "et al")
            yield from re.split(r"(?<=[.!?])[\"')]*\s+(?=[\"'(\[-]*\w)", line)


def messages(tree):
    """Strings that are not docstrings; a value in one is one word. Neither SQL, nor lists of PyTorch's functions."""
    inner = set()
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            inner.update(id(part) for part in ast.walk(node) if part is not node)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("names", "_names"):
            inner.update(map(id, node.args))
        elif isinstance(node, ast.Expr):
            inner.add(id(node.value))
    for node in nodes:
        if id(node) in inner:
            continue
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        if isinstance(node, ast.JoinedStr | ast.Constant) and not SQL.match(str(getattr(parts[0], "value", ""))):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in parts)


def test_sentences_are_short():
    """Of docstrings, help and messages: a sentence ends at a full stop, not at a colon or a semicolon."""
    long = [
        f"{named(path)}: {sentence}"
        for path in MODULES
        for text in (*(ast.get_docstring(node) or "" for node in documented(path)), *messages(parsed(path)))
        for sentence in sentences(text)
        if len([word for word in sentence.split() if re.search(r"\w", word)]) > MOST_WORDS
    ]
    assert not long


def test_local_variables_are_named_by_what_they_hold():
    riddles = {"found", "one", "told", "these", "saw", "seen", "some", "somebody"}
    bound = {
        f"{named(path)}:{node.lineno} {node.id}"
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in riddles
    }
    assert not bound, "name each by what it holds"


def test_public_names_resolve_and_stay_lazy():
    for name in initprobe.__all__:
        assert getattr(initprobe, name) is not None
    assert set(dir(initprobe)) == set(initprobe.__all__)
    with pytest.raises(AttributeError):
        _ = initprobe.nothing
    code = "import sys, initprobe; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_top_level_holds_only_the_named_files():
    top = ROOT.parent
    if not (top / "pyproject.toml").exists():
        pytest.skip("installed without its source tree")
    tracked = subprocess.run(["git", "ls-files"], cwd=top, capture_output=True, text=True).stdout.split()
    names = {name.split("/")[0] for name in tracked if not name.startswith(".")}
    assert names <= {"pyproject.toml", "README.md", "LICENSE", "initprobe", "tests", "configs"}


def test_rules_for_models_load_without_pytorch():
    """`list`, `explain`, checks and ignores name them, with PyTorch or without."""
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "from initprobe.torch.verdict.rulebook import RULEBOOK\n"
        "import initprobe.sweeps.checks\nprint(len(RULEBOOK) > 20)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "True", out.stderr
