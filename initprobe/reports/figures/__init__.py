"""Results as figures. Start reading in `run.py`, which lists the kinds of figure of one result.

What may come in: functions that take data and return a `matplotlib.figure.Figure`; saving is done elsewhere. Modules
named `..._data.py` compute what is drawn, without matplotlib. pyplot is not used. A new kind of figure is an entry in
`run.py`.
"""
