"""The command line: it parses options, calls the other rooms and prints. Nothing is computed here.

Only this room imports click. A command imports NumPy and the like inside its function, so that `--help` stays fast.
Start reading in `app.py`, then `commands/run.py`. `parameters.py` turns a dataclass into options; `options.py`,
`gate.py`, `outputs.py`, `run_output.py`, `sweep_output.py` and `sweep_run.py` hold the options that commands share.
"""
