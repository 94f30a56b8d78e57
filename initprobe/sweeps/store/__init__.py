"""The store of a sweep: one SQLite file with all runs and their results, and what is done with such files.

Start reading in `store.py`, which writes and reads. `schema`, `database`, `lock`, `rows` and `packing` serve it alone.
`kept_runs` reads runs from any file of results, also from JSON. `diff` compares two sets of them, and `rounding` says
which changes another processor may cause. What executes runs does not belong here.
"""
