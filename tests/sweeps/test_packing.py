"""Results in little room: whatever goes in comes out, byte for byte, and old stores are read."""

import json
import sqlite3
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_runs import numbers, small, swept

from initprobe import ProbeConfig, run
from initprobe.errors import InputError
from initprobe.sweeps.store import open_store, read_store
from initprobe.sweeps.store_packing import pack, unpack

CONFIGS = [
    {"init": "he", "act": "relu"},
    {"init": "normal:std=1e30", "act": "linear"},  # infinities and numbers that were lost
    {"init": "zeros", "act": "tanh"},  # histograms of one bin
    {"init": "xavier", "act": "tanh", "loss": "cross-entropy", "train_steps": 3},
]


@pytest.mark.parametrize("fields", CONFIGS, ids=lambda fields: fields["init"])
def test_a_result_comes_back_to_the_byte(fields):
    text = run(ProbeConfig(**fields, layers=3, width=12, batch=10)).to_json().encode()
    packed = pack(text)
    assert unpack(packed) == text
    # Zeros are no digits to save: for them, what says where numbers stood is all that counts.
    most = 1.2 if fields["init"] == "zeros" else 0.8
    assert not packed.startswith(b"\x78") and len(packed) < most * len(zlib.compress(text, 1))


NUMBERS = st.one_of(st.floats(), st.integers(-(2**70), 2**70), st.text(max_size=20))
COUNTS = st.fixed_dictionaries({"counts": st.lists(st.integers(0, 2**40), max_size=5), "low": NUMBERS})
VALUES = st.recursive(NUMBERS | COUNTS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(VALUES)
def test_any_json_comes_back_to_the_byte(value):
    for separators in ((",", ":"), (", ", ": ")):
        text = json.dumps(value, separators=separators).encode()
        assert unpack(pack(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"counts":[1,2],"counts":[3]}',
        b'["x:0.50,y","1,2.0]"]',
        b'{"counts":[4294967296]}',
        b'{"counts":[4294967295,0]}',
        b"[-0.0,1e-7,1.5e-7,5e-324,1.7976931348623157e308,0.1]",
    ],
)
def test_odd_texts_come_back_to_the_byte(text):
    assert unpack(pack(text)) == text


def test_damage_is_found():
    packed = pack(run(ProbeConfig(init="he", act="relu", layers=2, width=9, batch=9)).to_json().encode())
    for damaged in (packed[:10], packed[:-3], packed[:30] + b"xyz" + packed[33:], packed[:4], b"", b"nothing"):
        with pytest.raises(zlib.error):
            unpack(damaged)


def test_a_store_of_an_older_version_is_read_and_continued(tmp_path):
    path, runs = tmp_path / "sweep.db", small(4)
    swept(path, runs[:2])
    before = numbers(path)
    with sqlite3.connect(path) as connection:  # as the version before wrote it
        for key, packed in connection.execute("SELECT key, result FROM results").fetchall():
            connection.execute("UPDATE results SET result = ? WHERE key = ?", (zlib.compress(unpack(packed), 1), key))
        connection.execute("PRAGMA user_version = 1001")
    connection.close()
    assert numbers(path) == before
    swept(path, runs)
    assert numbers(path)[:2] == before and len(numbers(path)) == 4
    with open_store(tmp_path / "all.db") as store, read_store(path) as other:
        assert (store.absorb(other).taken, store.absorb(other).differing) == (4, 0)


def test_a_damaged_header_is_reported_in_one_line(tmp_path):
    path, runs = tmp_path / "sweep.db", small(1)
    swept(path, runs)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE results SET result = substr(result, 1, 9)")
    connection.close()
    with pytest.raises(InputError, match="damaged"), read_store(path) as store:
        store.result(runs[0].key)


_PACKED = pack(b'{"counts":[1,2,300],"mean":0.125,"std":1.5e-7,"x":[0.1,-2.5]}')


@given(st.integers(0, len(_PACKED) - 1), st.integers(0, 255), st.integers(0, 3))
def test_a_changed_byte_is_damage_or_text(place, byte, cut):
    """Whatever a file holds, it is read or refused; checksums find every change but those of the header's numbers."""
    changed = (_PACKED[:place] + bytes([byte]) + _PACKED[place + 1 :])[: len(_PACKED) - cut]
    with suppress(zlib.error):
        assert isinstance(unpack(changed), bytes)


def test_text_that_unpacks_to_too_much_is_refused():
    for bomb in (zlib.compress(bytes(10**7)), pack(b'{"counts":[' + b"0," * 10**6 + b"0]}")):
        with pytest.raises(zlib.error):
            unpack(bomb, max_bytes=10**6)
