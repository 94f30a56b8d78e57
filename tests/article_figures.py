"""The README's figures: `python tests/article_figures.py` redraws them into .github/figures/."""

from pathlib import Path

import initprobe
from initprobe.describe import slug
from initprobe.probe import prepare
from initprobe.reports.figures import draw, render
from initprobe.sweep.plan import load

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / ".github" / "figures"
# By the config that they are from: a picture of each of these experiments.
SHOWN = {
    "article_figures": {
        "xavier-tanh-10x500": "summary",
        "normal-std0.01-tanh-10x500": "summary",
        "normal-std1-tanh-10x500": "summary",
        "he-relu-10x500": "summary",
        "xavier-relu-10x500": "summary",
    },
    "does_it_train": {"xavier-tanh-10x100-cross-entropy-300-steps": "training"},
}
KINDS = {name: kind for pictures in SHOWN.values() for name, kind in pictures.items()}


def experiments() -> dict[str, initprobe.ProbeConfig]:
    """The experiments of the shipped configs that the README shows, by the name of their picture."""
    found = {}
    for config_name, pictures in SHOWN.items():
        configs = [run.config for run in load(ROOT / "configs" / f"{config_name}.yaml").runs]
        named = {slug(config, prepare(config).sizes): config for config in configs}
        found |= {name: named[name] for name in pictures}
    return found


def redraw() -> None:
    """Run every experiment and keep its picture and its numbers."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, config in experiments().items():
        result = initprobe.run(config)
        (FIGURES / f"{name}.png").write_bytes(render(draw(result, KINDS[name]), "png"))
        (FIGURES / f"{name}.json").write_text(result.to_json())


if __name__ == "__main__":
    redraw()
