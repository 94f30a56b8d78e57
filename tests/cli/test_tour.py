"""`initprobe tour`: seven stops, each with a command that gives the same, a picture, a sentence and the verdict."""

import pytest

from initprobe.cli.commands.tour import STOPS
from initprobe.results.run import ProbeResult


def test_the_tour_has_seven_stops_and_does_not_wait_in_a_pipe(initprobe):
    outcome = initprobe("tour")
    assert outcome.code == 0
    stops = outcome.out.split(" of 7: ")[1:]
    assert [text.splitlines()[0] for text in stops] == [stop.title for stop in STOPS]
    verdicts = [text.split("Verdict: ")[1].split(".")[0] for text in stops]
    assert verdicts == [
        "symmetric from layer 1",
        "vanishing output from layer 1",
        "exploding gradient from layer 10",
        "the signal survives",
        "vanishing output from layer 1",
        "the signal survives",
        "vanishing gradient from layer 10",
    ]
    pictures = [line for line in outcome.out.splitlines() if "█" in line or "  variance" in line]
    assert len(pictures) == 7 * 7 and max(map(len, pictures)) <= 80


@pytest.mark.parametrize("number", [1, 5])
def test_the_command_of_a_stop_measures_the_same(initprobe, number):
    text = initprobe("tour", "--no-wait").out.split(" of 7: ")[number + 1]
    command = next(line for line in text.splitlines() if line.startswith("initprobe run"))
    outcome = initprobe(*command.split()[1:], "--no-figures", "--export-json", "-")
    layers = ProbeResult.from_json(outcome.out).layers
    from initprobe.formatting import short

    assert f" {short(layers[-1].output.variance)}\n" in text
