"""Results as tables, text files and figures. Start reading in `run_table.py`; figures are in `figures/`.

What may come in: a rendering of records of `results`, and words for their numbers. Nothing here computes a statistic.
rich stays in this room and in `cli`; matplotlib stays in `figures`, and is loaded only when a figure is drawn.
"""
