"""Theory for one experiment: the prediction beside each measurement, and fixes that theory proposes.

What comes in: the config, the sizes of the layers and the moments of the input. What goes out: the `theory` of each
layer's record and the depth scales. For a network with a finding it is one `initprobe run` line, or None. Formulas
belong in `meanfield`; this room only applies them.

Start reading in `predict.py`. `infinite_width.py` has normalised and residual networks at infinite width. `rules.py`
turns a config into the layers that theory reads, and says where theory does not apply. `depth_scales.py` fits the depth
scales, and `typical.py` describes the typical draw.

Fixes start in `fix_norm_and_skip.py` (`fix_for`). `fix_plain.py` and `fix_wider.py` hold candidates for plain networks.
`forecast.py` judges a candidate by theory. `fix_trial.py` tries it, by a callable that `probe` hands in.
`command_line.py` writes a config as a command. `width_check.py` judges a measured coordinate check.
"""
