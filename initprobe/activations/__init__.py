"""Element-wise activations `h = phi(z)`, and what surrounds them: norms, skips, and losses behind the last layer.

Each activation is one frozen record, which holds everything the tool knows about it.

Start in `record.py`, then read a family: `sigmoids.py` or `rectifiers.py`. To add an activation, edit one family file.
`catalogue.py` joins the families. `own.py` makes records of the user's own functions. `own_checks.py` tests them, and
`own_slopes.py` differentiates them. `kinks.py` and `flat_ends.py` find where they bend and where they are constant.

`norms.py` and `losses.py` hold records of these. `skips.py` says what surrounds the activation of each layer.

A file may come in here if it holds such functions and their formulas. It reads no config and knows no network.
"""
