"""The page about PyTorch models publishes what `theory_run.py` wrote, and no other figures."""

import pytest
from documents import FLOWING, PAGES
from theory_published import ISOLATED, LEAST_WITHIN, MOST_LOG, MOST_UNPREDICTED, read, sentences, table


def test_the_table_is_that_of_the_run():
    published = read()
    assert table(published["networks"], published["anyinit"]) in PAGES["models.md"]


@pytest.mark.parametrize("sentence", sentences(read()))
def test_the_sentences_are_those_of_the_run(sentence):
    assert sentence in FLOWING


@pytest.mark.parametrize("row", read()["networks"], ids=lambda row: row["network"])
def test_the_goals_are_met(row):
    assert row["draws"] == 20 and row["unpredicted"] < MOST_UNPREDICTED
    assert max(row["forward"], row["backward"]) < ISOLATED.get(row["network"], MOST_LOG)
    assert row["within"] >= LEAST_WITHIN or row["network"] in ISOLATED
