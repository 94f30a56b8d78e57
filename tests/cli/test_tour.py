"""`initprobe tour`: seven stops, each with a command that gives the same, a picture, a sentence and the verdict."""

from initprobe.cli.commands.tour import STOPS
from initprobe.formatting import short
from initprobe.results.run import ProbeResult


def test_the_tour_has_seven_stops_whose_commands_measure_the_same(initprobe):
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
    assert len(pictures) == 7 * 7 and max(map(len, outcome.out.splitlines())) <= 80

    lines = stops[1].replace("\\\n", "").splitlines()
    command = next(line for line in lines if line.startswith("initprobe run"))
    measured = initprobe(*command.split()[1:], "--no-figures", "--export-json", "-")
    last = ProbeResult.from_json(measured.out).layers[-1]
    assert f" {short(last.output.variance)}\n" in stops[1]
