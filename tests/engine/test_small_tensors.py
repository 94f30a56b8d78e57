"""Small tensors that are counted together: the same bits as each alone, and the same numbers as NumPy."""

import numpy as np
import pytest

from initprobe.engine.buckets import COARSE, FINE, count
from initprobe.engine.sketch import Sketch
from initprobe.engine.small_tensors import add_many

torch = pytest.importorskip("torch")

from initprobe.torch.measure import SmallTensors, Track  # noqa: E402

ROWS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "relu": lambda rng, size: np.maximum(rng.normal(size=size), 0),
    "far": lambda rng, size: 50 + rng.normal(size=size),
    "zero": lambda rng, size: np.zeros(size),
    "negative zeros": lambda rng, size: -np.zeros(size),
    "equal": lambda rng, size: np.full(size, -0.3),
    "wide": lambda rng, size: rng.normal(size=size) * 10.0 ** rng.uniform(-30, 30, size),
}


def fresh(dtype, bits, draws=1):
    sketch = Sketch(np.dtype(dtype), bits)
    for _ in range(draws):
        sketch.begin_draw()
    return sketch


@pytest.mark.parametrize(("dtype", "bits"), [("float32", COARSE), ("float32", FINE), ("float64", COARSE)])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_rows_are_counted_as_numpy_counts_each(dtype, bits, size):
    rng = np.random.default_rng(3)
    stack = np.array([make(rng, size) for make in ROWS.values()], dtype)
    sketches = [fresh(dtype, bits) for _ in stack]
    assert all(add_many(sketches, stack))
    for sketch, row in zip(sketches, stack, strict=True):
        alone, wide = fresh(dtype, bits), row.astype(float)
        assert add_many([alone], row[None]) == [True]
        assert sketch.by_draw == alone.by_draw
        assert sketch.by_draw[0].mean == wide.mean()
        assert sketch.by_draw[0].squares == np.dot(wide - wide.mean(), wide - wide.mean())
        assert (sketch.low, sketch.high, sketch.zeros) == (row.min(), row.max(), (row == 0).sum())
        table = np.zeros(sketch.grid.size, int)
        table[sketch.keys] = sketch.counts
        np.testing.assert_array_equal(table, count((row - row.dtype.type(sketch.centre))[None], sketch.grid)[0])
        half = sketch.grid.size // 2
        order = [half - 1 - int(key) if key >= half else int(key) for key in sketch.keys]
        assert order == sorted(order) and len(set(order)) == len(order)


def test_rows_that_do_not_fit_are_left_to_the_long_way():
    stack = np.array([[1.0, 2.0], [np.nan, 1.0], [np.inf, 0.0], [1e200, 1.0], [0.0, 0.0]])
    sketches = [fresh("float64", COARSE) for _ in stack]
    assert add_many(sketches, stack) == [True, False, False, False, True]
    assert [sketch.total for sketch in sketches] == [2, 0, 0, 0, 2]


def test_a_second_draw_is_added_to_the_first():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 40)).astype("float32")
    sketch, other = fresh("float32", FINE), fresh("float32", FINE)
    add_many([sketch], first[None])
    sketch.begin_draw()
    add_many([sketch, other], np.array([second, first]))
    assert sketch.total == 80 and len(sketch.by_draw) == 2 and other.total == 40
    table = np.zeros(sketch.grid.size, int)
    table[sketch.keys] = sketch.counts
    np.testing.assert_array_equal(table, count(np.concatenate([first, second])[None], sketch.grid)[0])


def test_a_waiting_tensor_is_a_copy_and_never_waits_twice():
    few = SmallTensors(None)
    track, tensor = Track.like(torch.ones(4), 0, few, fine=True), torch.ones(4)
    track.measure(tensor)
    tensor.fill_(3)
    track.measure(tensor)  # which settles the first
    few.empty()
    assert [draw.mean for draw in track.by_draw] == [1, 3]
    assert (track.low, track.high, track.total) == (1, 3, 8)
