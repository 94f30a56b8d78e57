"""The layering, asserted on the source: who may import whom, and which library lives where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import initprobe

ROOT = Path(initprobe.__file__).parent
# Lowest floor first; a file imports only from its own floor's lower neighbours.
FLOORS = [
    "plain", "errors", "release", "averages", "numbers", "characters", "machine", "files", "archives",
    "normals", "registry", "grammar", "importing", "activations", "flats", "functions",
    "fits", "initializers", "datasets", "inputs", "norms", "losses", "thresholds", "wiring", "independence", "own_init",
    "weights", "recognition", "glossary", "meanfield", "tuning", "config_fields", "config",
    "engine", "memory", "results", "vocabulary", "arithmetic", "diagnosis", "rulebook", "digest", "ignores",
    "reports", "describe", "summary", "theory", "depth", "remedy", "rewire", "objective", "experiment", "passes",
    "networks", "environment", "probe", "torch", "spectrum", "frameworks", "choice", "recommend", "sweep",
    "testing", "cli", "__main__",
]  # fmt: skip
# Inside a package, imports follow this order.
INSIDE = {
    "engine": [
        "streams",
        "workers",
        "products",
        "sketch",
        "few",
        "distribution",
        "record",
        "outer",
        "mlp",
        "fitting",
        "training",
        "jacobian",
    ],
    "meanfield": ["quadrature", "moments", "pairs", "samples", "maps", "wired", "spread", "gain", "phase", "spectrum"],
    "reports": [
        "binning",
        "blocks",
        "captions",
        "strips",
        "words",
        "names",
        "console",
        "elision",
        "tables",
        "figures",
        "notebook",
        "drawer",
        "charts",
        "spectra",
        "seedwise",
        "markdown",
        "sweep_table",
        "readings",
        "sheets",
        "grids",
        "curves",
        "sweep_maps",
        "sweep_figures",
        "export",
        "junit",
    ],
    "torch": [
        "theirs",
        "kinds",
        "fans",
        "on_device",
        "measure",
        "guard",
        "start",
        "graph",
        "attention",
        "recurrence",
        "units",
        "parameters",
        "calls",
        "modules",
        "operations",
        "structure",
        "case",
        "cures",
        "rules_trends",
        "rules_units",
        "rules_scales",
        "rules_ends",
        "rules_numbers",
        "judging",
        "coverage",
        "fixes",
        "words",
        "telling",
        "bridge",
        "checkpoints",
        "given",
        "losses",
        "libraries",
        "loading",
    ],
    "sweep": [
        "runs",
        "fields",
        "checks",
        "document",
        "layout",
        "overrides",
        "expand",
        "configs",
        "wishes",
        "plan",
        "known",
        "packing",
        "database",
        "lock",
        "rows",
        "store",
        "pool",
        "runner",
        "remote",
        "sources",
        "judging",
        "rounding",
        "diff",
    ],
    "cli": [
        "options",
        "outputs",
        "progress",
        "annotations",
        "gate",
        "sweep_output",
        "sweep_figures",
        "run",
        "torch",
        "show",
        "listing",
        "explain",
        "gain",
        "phase",
        "spectrum",
        "recommend",
        "compare",
        "sweep",
        "results",
        "check",
        "diff",
        "merge",
        "schema",
        "validate",
        "completion",
        "app",
    ],
}  # fmt: skip
HOMES = {
    "click": ["cli/"],
    "rich": ["cli/", "reports/console.py", "reports/elision.py", "reports/tables.py", "reports/sweep_table.py"],
    "matplotlib": [
        "reports/captions",
        "reports/figures.py",
        "reports/charts.py",
        "reports/spectra.py",
        "reports/sheets.py",
        "reports/sweep_maps.py",
        "reports/sweep_figures.py",
    ],
    "distributed": ["sweep/remote.py"],
    "psutil": ["machine.py"],
    "torch": ["torch/"],
    "ruamel": ["sweep/document.py"],
}
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if "configs" not in path.parts)


def imports(path):
    """Modules imported anywhere in a file, outside `if TYPE_CHECKING`."""
    tree = ast.parse((ROOT / path).read_text())
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


def floor(dotted):
    return FLOORS.index(dotted.split(".")[1])


@pytest.mark.parametrize("path", [p for p in MODULES if p != Path("__init__.py")], ids=str)
def test_imports_go_down_only(path):
    own = ".".join(["initprobe", *path.with_suffix("").parts])
    if path == Path("results.py"):
        return  # its methods render themselves, lazily; see below
    for name in imports(path):
        if not name.startswith("initprobe."):
            continue
        assert floor(name) <= floor(own), f"{path} imports {name}"
        package, inside = path.parts[0], INSIDE.get(path.parts[0])
        if floor(name) == floor(own) and inside and path.name != "__init__.py":
            below = name.split(".")[2]
            assert package not in INSIDE or inside.index(below) < inside.index(path.stem), f"{path} imports {name}"


def test_results_look_up_only_to_render_themselves():
    up = {name for name in imports(Path("results.py")) if name.startswith("initprobe.")}
    assert all(floor(name) < floor("initprobe.results") or name.startswith("initprobe.reports") for name in up)


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_its_home(library):
    for path in MODULES:
        if any(name.split(".")[0] == library for name in imports(path)):
            assert any(str(path.as_posix()).startswith(home) for home in HOMES[library]), f"{path} imports {library}"


def test_pyplot_is_never_used():
    assert not [path for path in MODULES if any("pyplot" in name for name in imports(path))]


def test_public_names_resolve_and_stay_lazy():
    for name in initprobe.__all__:
        assert getattr(initprobe, name) is not None
    assert set(dir(initprobe)) == set(initprobe.__all__)
    with pytest.raises(AttributeError):
        _ = initprobe.nothing
    code = "import sys, initprobe; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_top_level_holds_what_the_card_names():
    top = ROOT.parent
    if not (top / "pyproject.toml").exists():
        pytest.skip("installed without its source tree")
    tracked = subprocess.run(["git", "ls-files"], cwd=top, capture_output=True, text=True).stdout.split()
    names = {name.split("/")[0] for name in tracked if not name.startswith(".")}
    assert names <= {"pyproject.toml", "README.md", "LICENSE", "initprobe", "tests", "configs"}
