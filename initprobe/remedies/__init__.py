"""Fixes: the same experiment with other weights, norms or skips, chosen by theory and given as a command line.

What comes in: the config of a network with a finding, its sizes and the moments of its input. What goes out: one
`initprobe run` line, or None. Theory proposes candidates here, and a callable that `probe` hands in tries them.

Start reading in `norm_and_skip.py` (`fix_for`). `plain.py` and `wider.py` hold the candidates for plain networks.
`forecast.py` judges a candidate by theory, and `trial.py` tries it. `command_line.py` writes a config as a command.
"""
