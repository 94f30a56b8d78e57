"""The page about PyTorch models publishes what the runs of the zoo wrote, and no other figures."""

import pytest
from documents import FLOWING, PAGES
from zoo_published import FALSE_ALARMS, HEALED, NAMED, SEEDED_ALARMS, read, sentences, table


def test_the_table_is_that_of_the_run():
    assert table(read()["networks"]) in PAGES["models.md"]


@pytest.mark.parametrize("sentence", sentences(read()))
def test_the_sentences_are_those_of_the_runs(sentence):
    assert sentence in FLOWING


def test_the_goals_are_met():
    """At most 1% false alarms, nothing refused, 98% of the pairs silent. 22 of 25 bugs are named, and 20 healed."""
    published = read()
    whole, seeds, planted = published["networks"][-1], published["seeds"], published["planted"]
    assert whole["networks"] >= 150 and whole["alarms"] <= FALSE_ALARMS * whole["networks"] and not whole["refused"]
    assert whole["judged"] > 0.99 and seeds["silent"] >= (1 - SEEDED_ALARMS) * seeds["pairs"]
    assert planted["bugs"] >= 25 and planted["named"] >= NAMED * planted["bugs"]
    assert planted["worked"] >= HEALED * planted["bugs"] and planted["found"] == planted["faulty"] >= 10
