"""Tables of real data from .npy, .npz and .csv files: inputs, labels, and arrays by name. Nothing is unpickled."""

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
_LINES = "write one line per sample, numbers separated by commas"


def read_table(path: Path, dtype: npt.DTypeLike) -> Array:
    """A table of real data from a .npy, .npz or .csv file.

    Args:
        path: the file.
        dtype: float32 or float64; every entry must be finite in it.

    Returns:
        The data, `(samples, features)`.

    Raises:
        InputError: no such file, another format, pickled or empty data, another shape, or an entry that no finite
            `dtype` holds. Names file, row and column.
    """
    raw = read_array(path)
    _check_shape(path, raw)
    with np.errstate(over="ignore"):
        table = np.ascontiguousarray(raw, dtype=dtype)
    _check_finite(path, raw, table)
    return table


def read_labels(path: Path, rows: int) -> Array:
    """The class of each row of data, from a file.

    Args:
        path: a .npy, .npz or .csv file.
        rows: number of rows in the data.

    Returns:
        Whole numbers from 0 on, `(rows,)` int64.

    Raises:
        InputError: the file cannot be read, or does not hold one class per row.
    """
    raw = np.squeeze(read_array(path, "y"))
    if raw.dtype.kind not in "fiub" or raw.ndim != 1:
        raise InputError(f"holds {raw.dtype} entries of shape {raw.shape}, not one whole number per sample", file=path)
    if len(raw) != rows:
        raise InputError(f"has {len(raw)} labels, but the input has {rows} rows", file=path)
    wrong = np.flatnonzero(~((raw >= 0) & (raw == np.floor(raw)) & (raw < _MOST_CLASSES)))
    if len(wrong):
        raise InputError(f"row {wrong[0] + 1}: {raw[wrong[0]]} is not a class; classes are 0, 1, 2, ...", file=path)
    return raw.astype(np.int64)


def standardized(table: Array) -> Array:
    """Each feature of a table `(samples, features)` shifted to mean 0 and scaled to variance 1 over the samples.

    A constant feature becomes 0.
    """
    wide = table.astype(np.float64)
    wide -= wide.mean(axis=0)
    spread = wide.std(axis=0)
    # The spread of a constant feature is rounding error, which must not be scaled up.
    varies = spread > 1e-12 * np.abs(table).max(axis=0)
    wide[:, varies] /= spread[varies]
    wide[:, ~varies] = 0
    return wide.astype(table.dtype)


def read_array(path: Path, name: str = "x") -> Array:
    """The array in a file, of any shape.

    Args:
        path: a .npy, .npz or .csv file.
        name: which array of an .npz file to take, if it holds several.

    Raises:
        InputError: the file cannot be read, or holds something else.
        MemoryLimitError: the array does not fit into memory.
    """
    array: Array = _opened(path, lambda archive: _array_of(path, archive, name))
    return array


def read_arrays(path: Path) -> dict[str, Array]:
    """All arrays in an .npz file, by name.

    Raises:
        InputError: the file cannot be read, or holds something else.
        MemoryLimitError: the arrays do not fit into memory.
    """
    arrays: dict[str, Array] = _opened(
        path, lambda archive: {name: np.asarray(archive[name]) for name in archive.files}
    )
    return arrays


def _opened(path: Path, take: Callable[[Any], Any]) -> Any:
    """The array in a .npy or .csv file, or what `take` returns for the archive of an .npz file."""
    check_file(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"a file of input ends in {', '.join(SUFFIXES)}", file=path)
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    try:
        if not check_arrays(path):
            raise InputError("cannot be read as a NumPy file; write it by numpy.save(path, x)", file=path)
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            with loaded:
                return take(loaded)
    except InitprobeError:
        raise
    except Exception as error:  # for a damaged file NumPy raises many types, such as BadZipFile
        if "pickle" in str(error):
            raise InputError(
                "holds pickled Python objects, which are not read; save a plain array with numpy.save(path, x)",
                file=path,
            ) from None
        raise InputError(f"cannot be read as a NumPy file ({_one_line(error)})", file=path) from None


def _array_of(path: Path, archive: Any, name: str) -> Array:
    """The array of that name, or the only one there is."""
    names = list(archive.files)
    if name not in names and len(names) != 1:
        what = {"x": "inputs", "y": "labels"}[name]
        contents = ", ".join(names) or "nothing"
        raise InputError(f"holds {contents}; name the array of {what} {name}, or save it alone", file=path)
    return np.asarray(archive[name if name in names else names[0]])


def _read_csv(path: Path) -> Array:
    check_room(path, CSV_ROOM * path.stat().st_size)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            if not any(line.strip() for line in lines):
                raise InputError(f"is empty; {_LINES}", file=path)
        return np.loadtxt(path, delimiter=",", ndmin=2, comments=None, encoding="utf-8-sig")
    except InputError:
        raise
    except UnicodeDecodeError:
        raise InputError(f"is not text; {_LINES}", file=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({_one_line(error)})", file=path) from None
    except ValueError:
        raise _first_fault(path) from None


def _first_fault(path: Path) -> InputError:
    """The first line that is wrong in a file which `loadtxt` refused."""
    columns = None
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            cells = line.strip().split(",")
            if cells == [""]:
                continue
            columns = columns or len(cells)
            wrong = next((cell for cell in cells if not _is_float(cell)), None)
            if wrong is not None:
                is_header = number == 1 and not any(map(_is_float, cells))
                hint = " (a header? delete that line)" if is_header else ""
                return InputError(f"{wrong.strip()!r} is not a number{hint}; {_LINES}", file=path, line=number)
            if len(cells) != columns:
                text = f"{len(cells)} values, but the lines before have {columns}"
                return InputError(text, file=path, line=number)
    return InputError(f"cannot be read; {_LINES}", file=path)


def _is_float(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _check_shape(path: Path, raw: Array) -> None:
    if raw.dtype.kind not in "fiub":
        raise InputError(f"holds {raw.dtype} entries, not real numbers", file=path)
    if raw.ndim != 2:
        fix = f"; reshape it to ({len(raw)}, {raw[0].size})" if raw.ndim > 2 and len(raw) else ""
        raise InputError(f"has shape {raw.shape}, not (samples, features){fix}", file=path)
    if raw.shape[0] < 2 or raw.shape[1] < 1:
        raise InputError(f"has shape {raw.shape}; at least 2 samples of 1 feature are needed", file=path)


def _check_finite(path: Path, raw: Array, table: Array) -> None:
    lost = ~np.isfinite(table)
    if lost.any():
        row, column = map(int, np.unravel_index(np.argmax(lost), lost.shape))
        entry = raw[row, column]
        reason = f"is beyond {table.dtype}; use --dtype float64" if np.isfinite(entry) else "is not a finite number"
        raise InputError(f"row {row + 1}, column {column + 1}: {entry} {reason}", file=path)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
