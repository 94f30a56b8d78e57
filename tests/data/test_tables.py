"""Where a batch comes from: files that are read or refused with a place, and noise of known moments."""

from __future__ import annotations

import gc
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from initprobe.data.noise import NOISES as SHIPPED
from initprobe.data.noise import Noise, gaussian, uniform
from initprobe.data.tables import read_table, standardized
from initprobe.errors import ConfigError, InputError

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = (np.float32, np.float64)
TABLE = np.array([[0.5, -1, 2], [3, 4.25, 5], [6, 7, -8e-3], [9, 10, 11]])
SDS = 5.0  # of a normal estimator: a false alarm every 1.7 million tests


def _saved(tmp_path: Path, array: Any, name: str = "x.npy") -> Path:
    path = tmp_path / name
    np.save(path, array, allow_pickle=True)
    return path


def _written(tmp_path: Path, text: str | bytes, name: str = "x.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def _refusal(path: Path, dtype: type = np.float32) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path, dtype)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1
    return message.removeprefix(str(path))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_, ">f8"])
def test_npy_of_any_real_kind(tmp_path: Path, dtype: type, kind: Any) -> None:
    array = np.abs(TABLE).astype(kind)
    table = read_table(_saved(tmp_path, array), dtype)
    assert table.dtype == dtype
    assert table.flags.c_contiguous
    assert np.array_equal(table, array.astype(dtype))


def test_npy_in_column_order_is_read_by_rows(tmp_path: Path) -> None:
    table = read_table(_saved(tmp_path, np.asfortranarray(TABLE)), np.float64)
    assert table.flags.c_contiguous
    assert np.array_equal(table, TABLE)


def test_npz_prefers_x_and_takes_an_only_array(tmp_path: Path) -> None:
    both, single, packed = (tmp_path / name for name in ("both.npz", "single.npz", "packed.NPZ"))
    np.savez(both, y=np.zeros(4), x=TABLE)
    np.savez(single, images=TABLE)
    with packed.open("wb") as file:
        np.savez_compressed(file, TABLE)
    for path in (both, single, packed):
        assert np.array_equal(read_table(path, np.float64), TABLE)


def test_npz_of_several_arrays_without_x_is_refused_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "several.npz"
    np.savez(path, train=TABLE, test=TABLE)
    message = _refusal(path)
    assert "train, test" in message
    assert "name the array of inputs x" in message


def test_npz_of_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.npz"
    np.savez(path)
    assert "holds nothing" in _refusal(path)


CSV = "\n".join(",".join(str(entry) for entry in row) for row in TABLE)


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV + "\n",
        CSV + "\n\n\n",
        "\n" + CSV,
        CSV.replace("\n", "\n\n"),
        CSV.replace("\n", "\r\n"),
        "\ufeff" + CSV,
        CSV.replace(",", " , "),
        CSV.replace("0.5", "5e-1").replace("9.0", "+9"),
    ],
    ids=["plain", "newline", "blank end", "blank start", "blank lines", "windows", "bom", "spaces", "exponents"],
)
def test_csv_is_read(tmp_path: Path, text: str) -> None:
    assert np.array_equal(read_table(_written(tmp_path, text), np.float64), TABLE)


def test_csv_of_one_column(tmp_path: Path) -> None:
    assert read_table(_written(tmp_path, "1\n2\n3\n"), np.float64).tolist() == [[1], [2], [3]]


CSV_REFUSED = [
    ("", ": is empty"),
    ("\n\n", ": is empty"),
    ("a,b\n1,2\n3,4\n", ":1: 'a' is not a number (a header? delete that line)"),
    ("1,2\n3,x y\n5,6\n", ":2: 'x y' is not a number; write one line per sample"),
    ("1,2\n\n3,oops\n", ":3: 'oops' is not a number"),
    ("1,2\n3,\n5,6\n", ":2: '' is not a number"),
    ("1,2\n3,4,5\n", ":2: 3 values, but the lines before have 2"),
    ("1,2\n3,4\n5\n", ":3: 1 values, but the lines before have 2"),
    ("1;2\n3;4\n", ":1: '1;2' is not a number"),
    ("1,2\n# note\n3,4\n", ":2: '# note' is not a number"),
    ("1,2\n3,1_000\n", ":2: '1_000' is not a number"),
    ("1,2\n3,1+2j\n", ":2: '1+2j' is not a number"),
    ('1,2\n3,"4"\n', ":2: '\"4\"' is not a number"),
    ("1,2\n3,nan\n", ": row 2, column 2: nan is not a finite number"),
    ("1,2\n3,4\n-inf,6\n", ": row 3, column 1: -inf is not a finite number"),
    ("1,2\n3,1e39\n", ": row 2, column 2: 1e+39 is beyond float32; use --dtype float64"),
    ("1,2\n", ": has shape (1, 2); at least 2 samples"),
    (b"1,2\n3,\xff\xfe\n", ": is not text"),
    ("1,2\n3,4\n".encode("utf-16"), ": is not text"),
]


@pytest.mark.parametrize(("text", "start"), CSV_REFUSED, ids=[ascii(text)[:24] for text, _ in CSV_REFUSED])
def test_csv_refused_with_the_place_of_the_fault(tmp_path: Path, text: str | bytes, start: str) -> None:
    assert _refusal(_written(tmp_path, text)).startswith(start)


def _with(row: int, column: int, entry: float) -> Array:
    array = TABLE.copy()
    array[row, column] = entry
    return array


NPY_REFUSED: list[tuple[Any, str]] = [
    (_with(2, 1, math.nan), ": row 3, column 2: nan is not a finite number"),
    (_with(0, 2, math.inf), ": row 1, column 3: inf is not a finite number"),
    (_with(3, 0, -1e39), ": row 4, column 1: -1e+39 is beyond float32; use --dtype float64"),
    (TABLE + 0j, ": holds complex128 entries, not real numbers"),
    (TABLE.astype(str), ": holds <U"),
    (TABLE.astype("M8[s]"), ": holds datetime64[s] entries"),
    (np.zeros(3, [("a", "f4"), ("b", "f4")]), ": holds [('a', '<f4'), ('b', '<f4')] entries"),
    (TABLE[0], ": has shape (3,), not (samples, features)"),
    (np.float64(3), ": has shape (), not (samples, features)"),
    (np.zeros((5, 4, 7)), ": has shape (5, 4, 7), not (samples, features); reshape it to (5, 28)"),
    (np.zeros((0, 4, 7)), ": has shape (0, 4, 7), not (samples, features)"),
    (TABLE[:1], ": has shape (1, 3); at least 2 samples"),
    (np.zeros((0, 3)), ": has shape (0, 3); at least 2 samples"),
    (np.zeros((3, 0)), ": has shape (3, 0); at least 2 samples of 1 feature"),
    (np.array([[1, None], [2, 3]], dtype=object), ": holds pickled Python objects"),
]


@pytest.mark.parametrize(("array", "start"), NPY_REFUSED, ids=[start[2:40] for _, start in NPY_REFUSED])
def test_npy_refused_with_the_reason(tmp_path: Path, array: Any, start: str) -> None:
    assert _refusal(_saved(tmp_path, array)).startswith(start)


def test_numbers_beyond_float32_are_read_as_float64(tmp_path: Path) -> None:
    array = _with(3, 0, -1e39)
    assert np.array_equal(read_table(_saved(tmp_path, array), np.float64), array)


def test_pickled_objects_in_an_archive_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.array([[1, None], [2, 3]], dtype=object))
    assert "pickled Python objects" in _refusal(path)


def test_no_such_file_and_no_such_format(tmp_path: Path) -> None:
    assert _refusal(tmp_path / "none.npy") == ": no such file"
    assert _refusal(tmp_path) == ": is a directory; name a file in it"
    assert "ends in .npy, .npz, .csv" in _refusal(_written(tmp_path, "1,2\n3,4\n", "x.txt"))


def _npy_bytes(tmp_path: Path) -> bytes:
    return _saved(tmp_path, TABLE, "whole.npy").read_bytes()


def _npz_bytes(tmp_path: Path) -> bytes:
    path = tmp_path / "whole.npz"
    np.savez_compressed(path, x=np.arange(6000.0).reshape(100, 60))
    return path.read_bytes()


BROKEN: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "empty npy": ("x.npy", lambda path: b""),
    "empty npz": ("x.npz", lambda path: b""),
    "text as npy": ("x.npy", lambda path: b"1,2\n3,4\n"),
    "npy cut in the data": ("x.npy", lambda path: _npy_bytes(path)[:-8]),
    "npy cut in the header": ("x.npy", lambda path: _npy_bytes(path)[:20]),
    "npy with a spoilt header": ("x.npy", lambda path: _npy_bytes(path).replace(b"'shape'", b"'shap\xff'")),
    "npz cut short": ("x.npz", lambda path: _npz_bytes(path)[:-30]),
    "npz with spoilt data": ("x.npz", lambda path: _spoilt(_npz_bytes(path))),
    "npz that is a plain zip": ("x.npz", lambda path: _plain_zip(path)),
}


def _spoilt(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(255 - byte for byte in data[middle : middle + 40]) + data[middle + 40 :]


def _plain_zip(tmp_path: Path) -> bytes:
    path = tmp_path / "plain.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no array")
    return path.read_bytes()


@pytest.mark.parametrize("label", list(BROKEN))
def test_broken_files_are_refused_in_one_line(tmp_path: Path, label: str) -> None:
    name, contents = BROKEN[label]
    assert _refusal(_written(tmp_path, contents(tmp_path), name))
    gc.collect()  # a file left open warns here, not in some later test


@pytest.mark.parametrize(("name", "step"), [("x.npy", 1), ("x.npz", 37)])
def test_a_file_with_any_spoilt_byte_is_read_or_refused(tmp_path: Path, name: str, step: int) -> None:
    """Every byte of a .npy header, every 37th of a compressed archive: never an error of another library's."""
    whole = _npy_bytes(tmp_path)[:128] if name == "x.npy" else _npz_bytes(tmp_path)
    escaped = []
    for place in range(0, len(whole), step):
        spoilt = bytearray(_npy_bytes(tmp_path) if name == "x.npy" else whole)
        spoilt[place] ^= 0xFF
        try:
            read_table(_written(tmp_path, bytes(spoilt), name), np.float32)
        except InputError as error:
            assert len(str(error).splitlines()) == 1
        except Exception as error:
            escaped.append((place, repr(error)))
    gc.collect()
    assert not escaped


def test_a_file_that_promises_more_than_memory_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (40000000000000, 300), }"
    magic = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    assert _refusal(_written(tmp_path, magic + header.ljust(117) + b"\n", "x.npy"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_digits_from_npy_and_csv_are_the_same_table(tmp_path: Path, dtype: type) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits().data
    np.savetxt(tmp_path / "digits.csv", digits, delimiter=",")
    from_npy = read_table(_saved(tmp_path, digits, "digits.npy"), dtype)
    from_csv = read_table(tmp_path / "digits.csv", dtype)
    assert from_npy.shape == (1797, 64)
    assert from_npy.dtype == from_csv.dtype == dtype
    assert np.array_equal(from_npy, from_csv)


@pytest.mark.parametrize("dtype", DTYPES)
def test_standardized_features_have_mean_0_and_variance_1(dtype: type) -> None:
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((500, 6)) * [1e-3, 1, 50, 1e6, 2, 3] + [0, 5, -100, 1e7, 0, 1]
    table: Array = raw.astype(dtype)
    kept = table.copy()
    result = standardized(table)
    assert result.dtype == dtype
    assert np.array_equal(table, kept)
    wide = result.astype(np.float64)
    # Entries reach a few units and are rounded once, to eps/2 of their size. Float64 sums keep mean/std (33) times eps.
    tolerance = 8 * float(np.finfo(dtype).eps) + 500 * float(np.finfo(np.float64).eps)
    assert np.abs(wide.mean(axis=0)).max() < tolerance
    assert np.abs(wide.var(axis=0) - 1).max() < tolerance
    # A shift and a scale, both the same for all samples.
    assert np.allclose(np.corrcoef(raw[:, 2], wide[:, 2])[0, 1], 1)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 + 0.1, -3e-20])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_feature_becomes_0(constant: float, dtype: type) -> None:
    table: Array = np.column_stack([np.full(301, constant), np.arange(301.0)]).astype(dtype)
    result = standardized(table)
    assert not result[:, 0].any()
    assert result[:, 1].std() == pytest.approx(1, rel=1e-6)


def test_rounding_error_is_not_scaled_up_to_a_feature() -> None:
    """A column that was computed, not typed, may differ in its last bit; that is no signal."""
    jitter = np.where(np.arange(300) % 2, 0.1, np.nextafter(0.1, 1))
    assert not standardized(np.column_stack([jitter, np.arange(300.0)]))[:, 0].any()


def _drawn(noise: Noise, shape: tuple[int, int], dtype: type = np.float64, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return noise.sample(rng, shape, dtype, rng.standard_normal((1, shape[1])))


NOISES = [
    *SHIPPED,
    gaussian(std=0.5, mean=-3),
    gaussian(correlation=0.5),
    gaussian(std=2, correlation=0.9, mean=1),
    uniform(low=0, high=1),
    uniform(low=-3, high=7),
]
every = pytest.mark.parametrize("noise", NOISES, ids=lambda noise: f"{noise.name}:{noise.params}")


@every
@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_has_the_dtype_and_shape_asked_for_and_repeats(noise: Noise, dtype: type) -> None:
    first, again, other = (_drawn(noise, (40, 30), dtype, seed) for seed in (1, 1, 2))
    assert first.dtype == dtype
    assert first.shape == (40, 30)
    assert np.isfinite(first).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@every
def test_noise_is_made_again_from_its_own_parameters(noise: Noise) -> None:
    assert noise.make is not None
    again = noise.make(**noise.params)
    assert np.array_equal(_drawn(noise, (5, 4)), _drawn(again, (5, 4)))
    assert noise.formula and noise.describe


def _law(noise: Noise) -> Any:
    p = noise.params
    if noise.name == "gaussian":
        return stats.norm(p["mean"], p["std"])
    return stats.uniform(p["low"], p["high"] - p["low"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("noise", NOISES[:2] + NOISES[2:3] + NOISES[5:], ids=lambda n: f"{n.name}:{n.params}")
def test_mean_variance_and_distribution_of_independent_noise(noise: Noise, dtype: type) -> None:
    entries = _drawn(noise, (200, 250), dtype, seed=3).astype(np.float64)
    law, n = _law(noise), entries.size
    mean, variance, excess = (float(moment) for moment in law.stats(moments="mvk"))
    assert abs(entries.mean() - mean) < SDS * math.sqrt(variance / n)
    spread = math.sqrt((excess + 2) / n)  # kurtosis - 1, about the known mean
    assert abs(np.mean((entries - mean) ** 2) / variance - 1) < SDS * spread
    # Massart 1990: P(D > d) <= 2 exp(-2 n d^2), here one in a million.
    distance = stats.ks_1samp(entries.ravel(), law.cdf, method="asymp").statistic
    assert distance < math.sqrt(math.log(2e6) / (2 * n))


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_two_samples_have_the_correlation_asked_for(correlation: float, dtype: type) -> None:
    """Across features; the SD of a measured correlation is `(1 - c^2) / sqrt(features)`."""
    features = 100_000
    rows = _drawn(gaussian(std=2, mean=1, correlation=correlation), (3, features), dtype, seed=4).astype(np.float64)
    measured = np.asarray(np.corrcoef(rows))[np.triu_indices(3, k=1)]
    tolerance = SDS * (1 - correlation**2) / math.sqrt(features) + 4 * float(np.finfo(dtype).eps)
    assert np.abs(measured - correlation).max() < tolerance
    # The common part is shared, not added: the spread stays. Rows are dependent, so each is judged alone.
    assert np.abs(rows.var(axis=1) / 4 - 1).max() < SDS * math.sqrt(2 / features)


def test_blocks_of_one_batch_share_their_common_part() -> None:
    noise, rng = gaussian(correlation=0.8), np.random.default_rng(5)
    shared = rng.standard_normal((1, 100_000))
    first, second = (noise.sample(rng, (1, shared.size), np.float64, shared)[0] for _ in range(2))
    assert abs(np.corrcoef(first, second)[0, 1] - 0.8) < SDS * (1 - 0.8**2) / math.sqrt(shared.size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (-3.0, 7.0), (100.0, 101.0)])
def test_uniform_keeps_its_bounds(dtype: type, low: float, high: float) -> None:
    entries = _drawn(uniform(low, high), (500, 200), dtype)
    assert low <= entries.min()
    assert entries.max() <= high
    # P(no entry within a share s of an end) = (1 - s)^n < 1e-6.
    reach = (high - low) * -math.log(1e-6) / entries.size
    assert entries.min() < low + reach
    assert entries.max() > high - reach


def test_no_spread_is_a_constant_input() -> None:
    assert np.all(_drawn(gaussian(std=0, mean=2), (3, 4)) == 2)
    assert np.all(_drawn(uniform(low=2, high=2), (3, 4)) == 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gaussian(std=-1),
        lambda: gaussian(correlation=-0.1),
        lambda: gaussian(correlation=1.1),
        lambda: gaussian(std=math.nan),
        lambda: gaussian(correlation=math.nan),
        lambda: uniform(low=1, high=0),
        lambda: uniform(low=math.nan),
    ],
    ids=["std", "anticorrelated", "correlation", "nan std", "nan correlation", "bounds", "nan low"],
)
def test_impossible_noise_is_refused(make: Callable[[], Noise]) -> None:
    with pytest.raises(ConfigError, match=r"^(gaussian|uniform): "):
        make()
