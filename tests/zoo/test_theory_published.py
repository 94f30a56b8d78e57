"""The page about PyTorch models publishes what `theory_run.py` wrote, and no other figures."""

import pytest
from documents import FLOWING, PAGES
from theory_published import DEEP, LEAST_WITHIN, MANY, MOST_LOG, MOST_UNPREDICTED, SDS, read, sentences, table


def test_the_table_is_that_of_the_run():
    published = read()
    assert table(published["networks"], published["anyinit"]) in PAGES["models.md"]


@pytest.mark.parametrize("sentence", sentences(read()))
def test_the_sentences_are_those_of_the_run(sentence):
    assert sentence in FLOWING


@pytest.mark.parametrize("row", read()["networks"], ids=lambda row: row["network"])
def test_the_goals_are_met(row):
    assert row["draws"] == 20 and row["unpredicted"] < MOST_UNPREDICTED
    chance = SDS * row["chance"] if row["network"] in DEEP else 0.0
    assert max(row["forward"], row["backward"]) < max(MOST_LOG, chance)
    for share in ("within", "within_back", "within_local", "within_local_back"):
        assert row[share] >= LEAST_WITHIN, share


@pytest.mark.parametrize("row", read()["many"], ids=lambda row: row["network"])
def test_many_draws_leave_no_bias(row):
    assert row["draws"] == MANY and max(row["forward"], row["backward"]) < MOST_LOG
