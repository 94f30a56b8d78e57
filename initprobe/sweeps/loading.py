"""`load`: results that were saved, of every kind that a command writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from initprobe.data.files import RESULT_FILE, STORE_FILE, is_directory, is_file, read_json, require_path
from initprobe.errors import InputError
from initprobe.meanfield.phase_diagram import PhaseDiagram
from initprobe.results.base import read_record
from initprobe.results.coordinate_check import CoordinateCheck
from initprobe.results.json_text import parse_json
from initprobe.results.recommendation import Recommendation
from initprobe.results.run import ProbeResult
from initprobe.results.spectrum import Spectrum
from initprobe.studies.comparison import Comparison
from initprobe.sweeps.store import read_store
from initprobe.sweeps.store_kept_runs import is_store
from initprobe.sweeps.swept import Sweep, exported_sweep

_Single = ProbeResult | CoordinateCheck | Recommendation | Spectrum
Loaded = _Single | Comparison | Sweep | PhaseDiagram | list[Spectrum]

# Keys that no other kind of result has.
_KINDS: Sequence[tuple[frozenset[str], type[_Single]]] = (
    (frozenset({"widths", "transfers"}), CoordinateCheck),
    (frozenset({"goal", "formula"}), Recommendation),
    (frozenset({"isometric", "end_to_end"}), Spectrum),
)
_FIX = "load reads result.json, sweep.db, and the results that --export-json writes"


def load(path: str | Path) -> Loaded:
    """Results that were saved: a `result.json`, a `sweep.db`, a file of `--export-json`, or a directory with one.

    Args:
        path: a file or a directory.

    Returns:
        What the function of that command returns, such as a `ProbeResult`, a `Comparison` or a `Sweep`. A file of
        `spectrum` with several initializers gives a list.

    Raises:
        InputError: there is no such file, or it holds no results.

    Example:
        `load("initprobe-out/xavier-tanh-10x500").healthy`
    """
    require_path("path", path)
    file = _file(Path(path))
    if is_store(file):
        with read_store(file) as store:
            return Sweep(file, tuple(store.rows()))
    try:
        text = read_json(file)
        values = parse_json(text, file)
    except InputError as error:
        raise InputError(f"{error.text}; {_FIX}", file=file, line=error.line) from None
    if isinstance(values, list):
        return _of_list(values, file)
    if isinstance(values, dict) and "runs" in values:
        return exported_sweep(text, file)
    if isinstance(values, dict) and {"settling", "chi_1"} <= values.keys():
        return PhaseDiagram.from_json(text, str(file))
    return _one(values, text, str(file))


def _file(path: Path) -> Path:
    """The file itself; of a directory its store or its result."""
    if not is_directory(path):
        return path
    for name in (STORE_FILE, RESULT_FILE):
        if is_file(path / name):
            return path / name
    raise InputError(f"holds neither {STORE_FILE} nor {RESULT_FILE}; name a file", file=path)


def _one(values: object, text: str | bytes, source: str) -> _Single:
    """One result, of the kind that its keys show."""
    if not isinstance(values, Mapping) or not values.keys() & {"config", "layers", "schema"}:
        raise InputError(f"holds no results; {_FIX}", file=source)
    kind: type[_Single] = next((kind for keys, kind in _KINDS if keys <= values.keys()), ProbeResult)
    return read_record(kind, text, source)


def _of_list(values: Sequence[object], file: Path) -> Comparison | Spectrum | list[Spectrum]:
    """The results of `compare`, or the spectra of `spectrum`.

    Raises:
        InputError: the list is empty, or holds something else.
    """
    results = [_one(each, json.dumps(each), f"{file}, result {number}") for number, each in enumerate(values, start=1)]
    runs = tuple(result for result in results if isinstance(result, ProbeResult))
    spectra = [result for result in results if isinstance(result, Spectrum)]
    if runs and len(runs) == len(results):
        return Comparison(runs)
    if not spectra or len(spectra) < len(results):
        raise InputError(f"holds no list of results of one kind; {_FIX}", file=file)
    return spectra[0] if len(spectra) == 1 else spectra
