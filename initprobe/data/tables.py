"""Where a batch comes from: Gaussian or uniform noise, a data set that ships, or a file of real data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from initprobe.arrays import Array
from initprobe.data.archives import check_arrays
from initprobe.data.files import CSV_ROOM, check_file, check_room
from initprobe.errors import InitprobeError, InputError

SUFFIXES = (".npy", ".npz", ".csv")
_MOST_CLASSES = 100_000
_LINES = "one line a sample, numbers separated by commas"


def read_table(path: Path, dtype: npt.DTypeLike) -> Array:
    """A table of real data, `(samples, features)`, from a .npy, .npz or .csv file.

    Raises:
        InputError: no such file, another format, pickled or empty data, another shape, or an entry that is not a finite
            number of `dtype`, with file and row.
    """
    raw = read_array(path)
    _check_shape(path, raw)
    with np.errstate(over="ignore"):
        table = np.ascontiguousarray(raw, dtype=dtype)
    _check_finite(path, raw, table)
    return table


def read_labels(path: Path, rows: int) -> Array:
    """A class for every one of `rows` rows of data, whole numbers from 0 on, `(rows,)` int64.

    Raises:
        InputError: the file cannot be read, or holds something else; says what.
    """
    raw = np.squeeze(read_array(path, "y"))
    if raw.dtype.kind not in "fiub" or raw.ndim != 1:
        raise InputError(f"{path}: holds {raw.dtype} entries of shape {raw.shape}, not one whole number a sample")
    if len(raw) != rows:
        raise InputError(f"{path}: has {len(raw)} labels, but the input has {rows} rows")
    wrong = np.flatnonzero(~((raw >= 0) & (raw == np.floor(raw)) & (raw < _MOST_CLASSES)))
    if len(wrong):
        raise InputError(f"{path}: row {wrong[0] + 1}: {raw[wrong[0]]} is not a class; classes are 0, 1, 2, ...")
    return raw.astype(np.int64)


def standardized(table: Array) -> Array:
    """Every feature shifted to mean 0 and scaled to variance 1; a constant feature becomes 0."""
    wide = table.astype(np.float64)
    wide -= wide.mean(axis=0)
    spread = wide.std(axis=0)
    # A constant feature leaves only rounding error, which must not be scaled up.
    varies = spread > 1e-12 * np.abs(table).max(axis=0)
    wide[:, varies] /= spread[varies]
    wide[:, ~varies] = 0
    return wide.astype(table.dtype)


def read_array(path: Path, name: str = "x") -> Array:
    """The array in a .npy or .npz file, of any shape, of several the one called `name`; or the table of a .csv file.

    Raises:
        InputError: the file cannot be read, or holds something else; says what.
        MemoryLimitError: it does not fit into memory.
    """
    held: Array = _opened(path, lambda archive: _array_of(path, archive, name))
    return held


def read_arrays(path: Path) -> dict[str, Array]:
    """Every array in a .npz file, by its name.

    Raises:
        InputError: the file cannot be read, or holds something else; says what.
    """
    held: dict[str, Array] = _opened(path, lambda archive: {name: np.asarray(archive[name]) for name in archive.files})
    return held


def _opened(path: Path, take: Callable[[Any], Any]) -> Any:
    """The array of a .npy file, or what `take` takes from the archive of a .npz file."""
    check_file(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a file of input ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    try:
        if not check_arrays(path):
            raise InputError(f"{path}: cannot be read as a NumPy file; write it by numpy.save(path, x)")
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            with loaded:
                return take(loaded)
    except InitprobeError:
        raise
    except Exception as error:  # a damaged file raises anything from BadZipFile to tokenize.TokenError
        if "pickle" in str(error):
            raise InputError(
                f"{path}: holds pickled Python objects, which are not read; save a plain array with numpy.save(path, x)"
            ) from None
        raise InputError(f"{path}: cannot be read as a NumPy file ({_one_line(error)})") from None


def _array_of(path: Path, archive: Any, name: str) -> Array:
    """The array of that name, or the only one."""
    names = list(archive.files)
    if name not in names and len(names) != 1:
        what = {"x": "inputs", "y": "labels"}[name]
        held = ", ".join(names) or "nothing"
        raise InputError(f"{path}: holds {held}; name the array of {what} {name}, or save it alone")
    return np.asarray(archive[name if name in names else names[0]])


def _read_csv(path: Path) -> Array:
    check_room(path, CSV_ROOM * path.stat().st_size)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            if not any(line.strip() for line in lines):
                raise InputError(f"{path}: is empty; {_LINES}")
        return np.loadtxt(path, delimiter=",", ndmin=2, comments=None, encoding="utf-8-sig")
    except InputError:
        raise
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text; {_LINES}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({_one_line(error)})") from None
    except ValueError:
        raise InputError(f"{path}:{_first_fault(path)}") from None


def _first_fault(path: Path) -> str:
    """Line number and cause of the first line that does not fit, for a file that loadtxt refused."""
    columns = None
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            cells = line.strip().split(",")
            if cells == [""]:
                continue
            columns = columns or len(cells)
            bad = next((cell for cell in cells if not _is_float(cell)), None)
            if bad is not None:
                no_number = not any(map(_is_float, cells))
                header = " (a header? delete that line)" if number == 1 and no_number else ""
                return f"{number}: {bad.strip()!r} is not a number{header}; {_LINES}"
            if len(cells) != columns:
                return f"{number}: {len(cells)} values, but the lines before have {columns}"
    return f" cannot be read; {_LINES}"


def _is_float(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _check_shape(path: Path, raw: Array) -> None:
    if raw.dtype.kind not in "fiub":
        raise InputError(f"{path}: holds {raw.dtype} entries, not real numbers")
    if raw.ndim != 2:
        fix = f"; reshape it to ({len(raw)}, {raw[0].size})" if raw.ndim > 2 and len(raw) else ""
        raise InputError(f"{path}: has shape {raw.shape}, not (samples, features){fix}")
    if raw.shape[0] < 2 or raw.shape[1] < 1:
        raise InputError(f"{path}: has shape {raw.shape}; at least 2 samples of 1 feature are needed")


def _check_finite(path: Path, raw: Array, table: Array) -> None:
    rows = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(rows):
        row = int(rows[0])
        column = int(np.flatnonzero(~np.isfinite(table[row]))[0])
        entry = raw[row, column]
        reason = f"is beyond {table.dtype}; use --dtype float64" if np.isfinite(entry) else "is not a finite number"
        raise InputError(f"{path}: row {row + 1}, column {column + 1}: {entry} {reason}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
