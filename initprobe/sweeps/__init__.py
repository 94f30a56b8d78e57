"""Sweeps: many experiments from one file, their execution, their store, and checks of their results.

Start reading in `plan.py`: `load` turns a file into runs. The modules form four groups:

- the file: `plan`, `runs`, `shipped_configs` and the modules `file_*`. They turn YAML, `--set` and `--where` into runs;
- execution: `execution_runner.execute` runs them in processes of this machine (`execution_pool`) or on a Dask cluster
  (`execution_dask`), and stores the results;
- the package `store`: one SQLite file that holds all runs of a sweep; merging and comparing of stores;
- checks: `checks` are the bounds in a file, `breaches` what lies outside of them, `checked_runs` puts both together.
  `ignores` and `known_findings` say what does not count.

A single experiment belongs into `probe`, output into `reports` and `cli`. Nothing here prints or draws.
"""
