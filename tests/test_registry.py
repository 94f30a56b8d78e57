"""Registries: one record a name, found under every spelling, and an unknown name that says what was meant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.data.noise import INPUTS
from initprobe.errors import ConfigError, UnknownNameError
from initprobe.initializers.catalogue import INITIALIZERS
from initprobe.registry import Registry, fold, suggestion


@dataclass(frozen=True)
class Thing:
    name: str
    aliases: tuple[str, ...] = ()


TABLES: list[Registry[Any]] = [ACTIVATIONS, INITIALIZERS, INPUTS]
over_tables = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
THINGS = Registry("thing", [Thing("big_box", ("crate",)), Thing("cup")])


def _spellings(name: str) -> set[str]:
    return {name, name.upper(), name.title(), name.replace("_", "-"), name.replace("_", " "), name.replace("_", "")}


@over_tables
def test_every_name_and_alias_is_found_in_any_spelling(table: Registry[Any]) -> None:
    for record in table.values():
        for name in (record.name, *record.aliases):
            for spelling in _spellings(name):
                assert table[spelling] is record
                assert spelling in table


@over_tables
def test_iteration_gives_the_names_in_order(table: Registry[Any]) -> None:
    assert list(table) == [record.name for record in table.values()]
    assert len(table) == len(set(table))
    assert dict(table.items()) == {name: table[name] for name in table}


@over_tables
def test_an_unknown_name_is_a_one_line_error_of_the_users(table: Registry[Any]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        table["qqqq"]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, ConfigError)
    assert str(caught.value) == f"unknown {table.kind} 'qqqq'. `initprobe list {table.kind}s` shows them all."


@over_tables
def test_in_and_get_work_as_on_a_dict(table: Registry[Any]) -> None:
    first = next(iter(table.values()))
    assert "qqqq" not in table
    assert table.get("qqqq") is None
    assert table.get("qqqq", first) is first
    assert table.get(first.name) is first


@over_tables
def test_a_slip_of_one_letter_is_understood(table: Registry[Any]) -> None:
    for name in (name for name in table if len(name) > 3):
        for typo in (name[:-1], name[0] + name[2:], name[0] + name[2] + name[1] + name[3:], (name + "x").upper()):
            if typo in table:
                continue
            with pytest.raises(UnknownNameError, match=f"^unknown {table.kind} '{typo}'. Did you mean '"):
                table[typo]


@pytest.mark.parametrize(
    ("table", "typo", "meant"),
    [
        (ACTIVATIONS, "tahn", "tanh"),
        (ACTIVATIONS, "RELUU", "relu"),
        (ACTIVATIONS, "swisch", "swish"),
        (INITIALIZERS, "xaver", "xavier"),
        (INITIALIZERS, "kaming_normal", "kaiming_normal"),
        (INPUTS, "gausian", "gaussian"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(table: Registry[Any], typo: str, meant: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        table[typo]
    assert str(caught.value) == f"unknown {table.kind} '{typo}'. Did you mean '{meant}'?"
    assert meant in table


@settings(derandomize=True, database=None, deadline=None)
@given(st.text())
def test_any_text_is_found_or_unknown_in_one_line(name: str) -> None:
    for table in TABLES:
        try:
            assert table[name].name in table
        except UnknownNameError as error:
            assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    "records",
    [
        [Thing("cup"), Thing("cup")],
        [Thing("cup"), Thing("CUP")],
        [Thing("big_box"), Thing("bigbox")],
        [Thing("cup"), Thing("mug", ("cup",))],
        [Thing("cup", ("beaker",)), Thing("mug", ("Beaker",))],
        [Thing("cup", ("mug",)), Thing("mug")],
    ],
)
def test_two_records_cannot_share_a_name(records: list[Thing]) -> None:
    # A slip in a table may make equal records; they must differ as objects to count as two.
    distinct = [replace(record) for record in records]
    with pytest.raises(ValueError, match="is claimed by two records") as caught:
        Registry("thing", distinct)
    assert not isinstance(caught.value, ConfigError), "a bug in a table is not the user's fault"


def test_an_alias_may_spell_its_own_name_again() -> None:
    assert Registry("thing", [Thing("big_box", ("BigBox", "big-box"))])["BIGBOX"].name == "big_box"


def test_fold_and_suggestion() -> None:
    assert {fold(name) for name in ("GlorotNormal", "glorot-normal", "glorot_normal", "Glorot Normal")} == {
        "glorotnormal"
    }
    assert suggestion("crat", ["crate", "cup"]) == " Did you mean 'crate'?"
    assert suggestion("CRATE!", ["crate", "cup"]) == " Did you mean 'crate'?"
    assert suggestion("zzz", ["crate", "cup"]) == ""
    assert suggestion("inits", ["inputs", "initializers"]) == " Did you mean 'initializers'?"
    assert suggestion("atc", ["batch", "act"]) == " Did you mean 'act'?"


def test_a_registry_is_read_only() -> None:
    with pytest.raises(TypeError):
        THINGS["mug"] = Thing("mug")  # type: ignore[index]
    with pytest.raises(TypeError):
        del THINGS["cup"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("start", "meant"), [("hist", "histogram"), ("Torch-L", "torch_linear"), ("hi", "histogram")])
def test_the_beginning_of_a_word_suggests_it(start, meant):
    assert suggestion(start, ["first", "hits_of_it_all", meant]) == f" Did you mean '{meant}'?"


def test_the_spelling_typed_decides_between_aliases():
    assert suggestion("cross-entrop", ("crossentropy", "cross-entropy")) == " Did you mean 'cross-entropy'?"
    assert suggestion("crossentrop", ("crossentropy", "cross-entropy")) == " Did you mean 'crossentropy'?"
