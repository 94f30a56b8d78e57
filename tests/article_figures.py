"""The README's figures: `python tests/article_figures.py` redraws them into .github/figures/."""

from pathlib import Path

import initprobe
from initprobe.describe import slug
from initprobe.probe import prepare
from initprobe.reports.figures import draw, render
from initprobe.sweep.plan import load

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / ".github" / "figures"
KIND = "summary"
SHOWN = (
    "xavier-tanh-10x500",
    "normal-std0.01-tanh-10x500",
    "normal-std1-tanh-10x500",
    "he-relu-10x500",
    "xavier-relu-10x500",
)


def experiments() -> dict[str, initprobe.ProbeConfig]:
    """The experiments of configs/article_figures.yaml that the README shows, by the name of their picture."""
    configs = [run.config for run in load(ROOT / "configs" / "article_figures.yaml").runs]
    named = {slug(config, prepare(config).sizes): config for config in configs}
    return {name: named[name] for name in SHOWN}


def redraw() -> None:
    """Run every experiment and keep its picture and its numbers."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, config in experiments().items():
        result = initprobe.run(config)
        (FIGURES / f"{name}.png").write_bytes(render(draw(result, KIND), "png"))
        (FIGURES / f"{name}.json").write_text(result.to_json())


if __name__ == "__main__":
    redraw()
