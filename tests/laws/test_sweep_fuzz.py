"""Any file, any `--set` and any `--where` is a plan or one line, never a traceback."""

import pytest
from sweep_fuzz import FILES, fuzz_files


@pytest.mark.parametrize("kind", FILES)
def test_any_file_is_a_plan_or_one_line(tmp_path, kind):
    fuzz_files(tmp_path, kind, 60)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_thousands_of_files_are_a_plan_or_one_line(tmp_path, kind):
    fuzz_files(tmp_path, kind, 4000)
