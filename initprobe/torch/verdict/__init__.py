"""The verdict on a PyTorch model: rules look at the recorded model and name what is wrong with it.

What may come in: rules for models, their input (`case.py`), and lines of PyTorch that may fix a model (`fix_lines.py`).
Nothing here runs a model: recording, and the trial of a fix, belong to the room above.

Start reading in `judge.py`. To add a rule, add an entry to `RULES` in a module here, or a module with such a tuple.
`rulebook.py` has their order. No module here loads PyTorch at import: the texts of the rules are there without it.
"""
