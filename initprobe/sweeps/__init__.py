"""Sweeps: many experiments from one file, their execution, their store, and checks of their results.

Start reading in `plan.py`: `load` turns a file into runs. The modules form four groups:

- the file: `plan`, `runs`, `shipped_configs` and the modules `file_*`. They turn YAML, `--set` and `--where` into runs;
- execution: `execution_runner.execute` runs them in processes of this machine (`execution_pool`) or on a Dask cluster
  (`execution_dask`), and stores the results;
- the store: `store` writes and reads one SQLite file with all runs of a sweep. `store_schema`, `store_database`,
  `store_lock`, `store_rows` and `store_packing` serve it alone. `store_kept_runs` reads runs from any file of results.
  `differences` compares two sets of runs, pair by pair with `store_diff`. `store_rounding` says which changes another
  processor may cause;
- checks: `checks` are the bounds in a file, `breaches` what lies outside of them, `checked_runs` puts both together.
  `ignores` and `known_findings` say what does not count.

A single experiment belongs into `probe`, output into `reports` and `cli`. Nothing here prints or draws.
"""
