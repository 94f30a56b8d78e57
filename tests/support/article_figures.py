"""The README's figures: `python tests/support/article_figures.py` redraws them into .github/figures/."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

import initprobe
from initprobe.probe.experiment import prepare
from initprobe.probe.names import slug
from initprobe.reports.figures.animation import gif
from initprobe.reports.figures.comparison import draw_comparison
from initprobe.reports.figures.run import draw
from initprobe.reports.figures.style import render
from initprobe.results.run import ProbeResult
from initprobe.sweeps.plan import load

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / ".github" / "figures"


@dataclass(frozen=True)
class Picture:
    """One picture of the README: experiments of a shipped config, and what is drawn of them."""

    name: str
    config: str
    experiments: tuple[str, ...]
    kind: str
    overrides: tuple[str, ...] = ()

    def configs(self) -> dict[str, initprobe.ProbeConfig]:
        """Its experiments by name, with which the slug of each begins; what is kept of each has that name too."""
        configs = [run.config for run in load(ROOT / "configs" / f"{self.config}.yaml", self.overrides).runs]
        named = {slug(config, prepare(config).sizes): config for config in configs}
        return {name: _named(name, named) for name in self.experiments}

    def draw(self, results: Sequence[ProbeResult]) -> Figure:
        """The picture."""
        return draw_comparison(results) if self.kind == "comparison" else draw(results[0], self.kind)


def _named(name: str, configs: dict[str, initprobe.ProbeConfig]) -> initprobe.ProbeConfig:
    return configs[min((slug for slug in configs if slug == name or slug.startswith(f"{name}-")), key=len)]


def _alone(name: str, config: str, kind: str) -> Picture:
    return Picture(name, config, (name,), kind)


PICTURES = (
    *(
        _alone(name, "article_figures", "summary")
        for name in (
            "xavier-tanh-10x500",
            "normal-std0.01-tanh-10x500",
            "normal-std1-tanh-10x500",
            "he-relu-10x500",
            "xavier-relu-10x500",
        )
    ),
    _alone("xavier-tanh-10x100-cross-entropy-300-steps", "does_it_train", "training"),
    Picture(
        "pretraining-digits",
        "pretraining",
        tuple(f"{init}-{act}-10x100-digits" for act in ("sigmoid", "tanh") for init in ("xavier", "autoencoder")),
        "comparison",
        ("input=digits", "standardize=true"),
    ),
)


def experiments() -> dict[str, initprobe.ProbeConfig]:
    """The experiments that the README shows, by name."""
    return {name: config for picture in PICTURES for name, config in picture.configs().items()}


# The animation at the head of the README shows this experiment.
ANIMATED, ANIMATION = "normal-std0.01-tanh-10x500", "collapse.gif"


def redraw() -> None:
    """Run every experiment and keep its numbers, and draw every picture."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        results = {name: initprobe.run(config) for name, config in picture.configs().items()}
        (FIGURES / f"{picture.name}.png").write_bytes(render(picture.draw(list(results.values())), "png"))
        for name, result in results.items():
            (FIGURES / f"{name}.json").write_text(result.to_json())
        if ANIMATED in results:
            (FIGURES / ANIMATION).write_bytes(gif(results[ANIMATED]))


if __name__ == "__main__":
    redraw()
