"""`ProbeConfig`: one experiment, validated and frozen; and the step that resolves its names.

Start in `probe_config.py`. `fields.py` has the types of its fields, `consistency.py` which fields exclude each other,
`thresholds.py` the limits of the verdict. `names.py` turns a specification into a record. `resolved.py` is the only
place that reads the file of weights and imports the user's functions. `tuned.py` computes gains for it.

A file may come in here if it says what a valid experiment is. It measures nothing and prints nothing.
"""
