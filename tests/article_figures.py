"""The README's figures: `python tests/article_figures.py` redraws them into .github/figures/."""

from pathlib import Path

from ruamel.yaml import YAML

import initprobe
from initprobe.describe import slug
from initprobe.probe import prepare
from initprobe.reports.figures import draw, render

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / ".github" / "figures"
KIND = "summary"


def experiments() -> dict[str, initprobe.ProbeConfig]:
    """The experiments of configs/article_figures.yaml, by the name of their picture."""
    document = YAML(typ="safe").load(ROOT / "configs" / "article_figures.yaml")
    configs = [initprobe.ProbeConfig(**(document["defaults"] | one)) for one in document["include"]]
    return {slug(config, prepare(config).sizes): config for config in configs}


def redraw() -> None:
    """Run every experiment and keep its picture and its numbers."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, config in experiments().items():
        result = initprobe.run(config)
        (FIGURES / f"{name}.png").write_bytes(render(draw(result, KIND), "png"))
        (FIGURES / f"{name}.json").write_text(result.to_json())


if __name__ == "__main__":
    redraw()
