"""What was measured, as frozen records; JSON is their fields. Start reading in `run.py`.

What may come in: numbers and words of a finished experiment, and names for them. Nothing here computes a statistic. A
statistic is one field of `layers.py`, described in its docstring: JSON, CSV, `explain` and `--columns` then have it.
"""
