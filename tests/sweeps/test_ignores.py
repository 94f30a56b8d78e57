"""Known findings: what an ignore speaks of, that one known place hides no other, and what is over."""

from __future__ import annotations

import datetime

import pytest

from initprobe import ProbeConfig, run
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.probe.run import measured
from initprobe.results.run import ProbeResult
from initprobe.sweeps.ignores import Ignore, apply, as_pattern, expired, living, make_ignore, parse_target
from initprobe.sweeps.known_findings import known_findings_of

TODAY = datetime.date(2027, 3, 1)


@pytest.fixture(autouse=True)
def today(monkeypatch):
    monkeypatch.setattr("initprobe.sweeps.ignores.today", lambda: TODAY)


def ignore(text: str, reason: str = "by design", until: str | None = None) -> Ignore:
    return make_ignore(*parse_target(text), reason, until, f"--ignore {text}")


def counting(result: ProbeResult, *texts: str) -> list[tuple[str, int]]:
    """What is left to count."""
    marked, _ = apply(result, [ignore(text) for text in texts])
    assert [finding.ignored is None for finding in marked.diagnosis] == sorted(
        (finding.ignored is None for finding in marked.diagnosis), reverse=True
    )
    return [
        (finding.rule, finding.layer)
        for finding in marked.diagnosis
        if finding.ignored is None and finding.severity != "info"
    ]


@pytest.fixture(scope="module")
def sound() -> ProbeResult:
    return run(ProbeConfig(init="he", act="relu", layers=9, width=20, batch=20, draws=1))


def with_dead(result: ProbeResult, *layers: int) -> ProbeResult:
    """The result with most units dead in these layers, judged anew."""
    from initprobe.diagnosis.diagnose import diagnose

    changed = [
        layer.model_copy(
            update={"output": layer.output.model_copy(update={"dead_fraction": 0.9 * (layer.layer in layers)})}
        )
        for layer in result.layers
    ]
    return diagnose(result.model_copy(update={"layers": tuple(changed)}))


DEAD = [
    (("dead-units",), [3, 4, 7], []),
    (("dead-units@3",), [3, 4, 7], [7]),  # the layer after it is no better, and belongs to it
    (("dead-units@3,7",), [3, 4, 7], []),
    (("dead-units@3-7",), [3, 4, 7], []),
    (("dead-units@3", "dead-units@7"), [3, 4, 7], []),
    (("dead-units@7",), [3, 4, 7], [3]),
    (("dead-units@4",), [3, 4, 7], [3]),  # which begins at 3
    (("dead-units@1-2",), [3], [3]),
    (("dead-units@1-3", "dead-units@5"), [1, 3, 5, 9], [9]),
    (("saturated",), [3], [3]),
    (("Dead_Units@9",), [9], []),
    (("dead-units@layer*",), [3], [3]),  # a net of `run` has no modules
]


@pytest.mark.parametrize(("texts", "dead", "left"), DEAD)
def test_one_known_place_hides_no_other(sound, texts, dead, left):
    assert counting(with_dead(sound, *dead), *texts) == [("dead-units", layer) for layer in left]


def test_a_trend_is_of_the_whole_net():
    result = run(ProbeConfig(init="normal:std=0.01", act="tanh", layers=8, width=20, batch=20, draws=1))
    assert counting(result) == [("vanishing-output", 1), ("vanishing-gradient", 8)]
    assert counting(result, "vanishing-output@1") == [("vanishing-gradient", 8)]
    assert counting(result, "vanishing-output@2", "vanishing-gradient@1-7") == counting(result)
    assert counting(result, "vanishing-output", "vanishing-gradient@8") == []


def test_ignored_findings_give_the_reason_and_come_last(sound):
    marked, used = apply(with_dead(sound, 3, 7), [excuse := ignore("dead-units@3", until="2027-03-01")])
    assert [(f.layer, f.ignored and f.ignored.model_dump()) for f in marked.diagnosis if f.rule == "dead-units"] == [
        (7, None),
        (3, {"reason": "by design", "until": "2027-03-01"}),
    ]
    assert used == {excuse}
    assert ProbeResult.from_json(marked.to_json()) == marked
    assert '"ignored":{"reason":"by design","until":"2027-03-01"}' in marked.to_json()
    assert apply(marked, [])[0] == marked


def test_the_last_day_counts_and_the_next_does_not(sound):
    lasting, over = ignore("dead-units", until="2027-03-01"), ignore("dead-units", until="2027-02-28")
    assert living([lasting, over]) == [lasting]
    assert expired([lasting, over]) == [
        "--ignore dead-units: expired on 2027-02-28; correct what it ignores, or give it a later day"
    ]
    assert apply(with_dead(sound, 3), [over]) == (with_dead(sound, 3), set())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dead-unit@3", "--ignore dead-unit@3: unknown rule 'dead-unit'. Did you mean 'dead-units'?"),
        ("nothing like it", "The rules are silent-input"),
        ("dead-units@", "names no place"),
        ("dead-units@3,,4", "names no place"),
        ("dead-units@0", "0 is no range of layers"),
        ("dead-units@7-3", "7-3 is no range of layers"),
        ("output.variance@3", "unknown rule"),
    ],
)
def test_text_that_is_no_ignore_is_refused(text, words):
    with pytest.raises(ConfigError, match="(?s).*" + words.replace("?", r"\?")):
        ignore(text)


def test_numbers_are_ignored_where_they_are_checked():
    excuse = make_ignore("output.variance", ["3"], "why", None, "it", ("output.variance",))
    assert excuse.covers("output.variance", 3) and not excuse.covers("output.variance", 4)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'output\.variance'"):
        make_ignore("output.varianc", [], "why", None, "it", ("output.variance",))


@pytest.mark.parametrize("day", ["2027-3-1", "20270301", "2027-02-30", "tomorrow", "2027-W09-1", ""])
def test_a_day_is_a_whole_date(day):
    with pytest.raises(ConfigError, match="is no day; write it as 2027-03-01"):
        ignore("dead-units", until=day)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_reason_has_words(reason):
    with pytest.raises(ConfigError, match="give a reason"):
        ignore("dead-units", reason)


def test_modules_are_named_by_patterns():
    excuse = ignore("dead-layer@encoder.*,head")
    assert all(excuse.covers("dead-layer", 9, name) for name in ("encoder.0", "encoder.1.fc", "head"))
    assert not any(excuse.covers("dead-layer", 9, name) for name in ("decoder.0", "heads", "Head", None))
    assert [ignore(f"dead-layer@{as_pattern(name)}").covers("dead-layer", 9, name) for name in ("3", "0-2", "a.3")] == [
        True
    ] * 3
    assert not ignore(f"dead-layer@{as_pattern('3')}").covers("dead-layer", 3, "5")
    third = "h.0.attn.in_proj_weight[k]"  # of a packed weight; not a pattern with a class of letters
    for written in (third, as_pattern(third), "*k?"):
        assert ignore(f"odd-layer@{written}").covers("odd-layer", 2, third)
    assert not ignore(f"odd-layer@{as_pattern(third)}").covers("odd-layer", 2, "h.0.attn.in_proj_weightk")


def test_every_place_of_a_rule_is_written(sound):
    (entry,) = known_findings_of(with_dead(sound, 1, 2, 5, 9), {}, "why", None)
    assert (entry.rule, entry.places) == ("dead-units", (1, 5, 9))
    again = make_ignore(entry.rule, map(str, entry.places), "why", None, "file")
    marked, _ = apply(with_dead(sound, 1, 2, 5, 9), [again])
    assert not [finding for finding in marked.diagnosis if finding.ignored is None and finding.severity != "info"]


def test_many_layers_and_many_ignores_are_no_burden(sound):
    """A rule is asked anew once for each layer: half a second. With thousands of ignores for each, it would be more."""
    import time

    deep = measured(ProbeConfig(init="lecun", act="tanh", layers=120, width=10, batch=10, draws=1))
    dead = with_dead(deep, *range(1, 120, 2))
    started = time.process_time()
    (places,) = (finding.places for finding in known_findings_of(dead, {}, "why", None) if finding.rule == "dead-units")
    assert places == tuple(range(1, 120, 2))
    ignores = [ignore(f"dead-units@{layer}") for layer in places] + [ignore("saturated")] * 2000
    assert counting_of(apply(dead, ignores)[0], "dead-units") == []
    assert time.process_time() - started < 20


def counting_of(result: ProbeResult, rule: str) -> list[int]:
    return [finding.layer for finding in result.diagnosis if finding.rule == rule and finding.ignored is None]


@pytest.mark.parametrize(
    ("fields", "first", "left"),
    [
        # The first has no skip; where others end, what was given tells their units apart.
        ({"input_width": 5, "widths": (8, 8, 8, 8)}, 1, []),
        ({"input_width": 5, "widths": (8, 8, 8, 8), "block": 2}, 1, []),  # 2 and 3 belong to it
        ({"input_width": 8, "widths": (8, 8, 8, 8), "block": 2}, 1, [3]),
    ],
    ids=str,
)
def test_a_known_layer_moves_no_end_of_a_branch(fields, first, left):
    result = run(ProbeConfig(init="zeros", act="tanh", residual=True, batch=20, draws=1, **fields))
    assert ("symmetric", first) in counting(result)
    assert [place for place in counting(result, f"symmetric@{first}") if place[0] == "symmetric"] == [
        ("symmetric", layer) for layer in left
    ]


def test_a_result_whose_findings_are_all_known_says_so_in_a_line():
    result = run(ProbeConfig(init="normal:std=1", act="tanh", layers=3, width=20, batch=20, draws=1))
    assert "saturated from layer 1" in repr(result)
    marked, _ = apply(result, [ignore(finding.rule) for finding in result.diagnosis])
    assert "signal survives" in repr(marked)
