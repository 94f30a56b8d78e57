"""Element-wise activations `h = phi(z)`: one frozen record each, which holds everything the tool knows about it.

Start in `record.py`, then read a family: `sigmoids.py` or `rectifiers.py`. To add an activation, edit one family file.
`catalogue.py` joins the families. `own.py` makes records of the user's own functions: `own_checks.py` tests them,
`own_slopes.py` differentiates them, `kinks.py` and `flat_ends.py` find where they bend and where they are constant.

A file may come in here if it says something about a function of one real variable. It reads no config and no data.
"""
