"""Theory for one experiment: from its config and measured input to the prediction beside each measurement.

What comes in: the config, the sizes of the layers and the moments of the input. What goes out: the `theory` of each
layer's record and the depth scales, as `results` types. Formulas belong in `meanfield`; this room only applies them.

Start reading in `predict.py`. `rules.py` turns a config into the layers that theory reads, and says where theory does
not apply. `depth_scales.py` fits the depth scales.
"""
