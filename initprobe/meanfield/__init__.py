"""Mean-field theory: what networks of infinite width do, and how far a network of finite width deviates from it.

What comes in: an `Activation` record, the layers' variance rules (`layer.Layer`) and measured moments of the input
(`input_moments.InputMoments`). The room reads no config and no results; `prediction` joins theory and experiment.

Gradients of plain networks are in `backward.py`, their bias at finite width in `gradient_bias.py` and their spread in
`gradient_spread.py`. Deviations of mean squares are in `lengths.py`; `uncertainty.py` says where they are too large for
theory.

Start reading in `layer.py` (the conventions and the records), then `propagate.py` (forward) and `predict.py` (all
predictions of a plain network). `moments.py` and `quadrature.py` compute Gaussian integrals, `correlated_pairs.py`
those of two inputs. `finite_width.py` and `unit_noise.py` give the spread at finite width. `phase.py` and `gain.py`
answer questions about infinite depth.

For normalised and residual networks, start in `norm_and_skip.py` (forward) and `norm_and_skip_gradients.py` (back).
Then read `radial.py`: the part of a gradient along h. `batch_norm.py` has the kernel of a batch, `layer_norm.py` the
first order in 1/width, and `norm_and_skip_spread.py` the spread. Of gradients it is in `residual_chance.py`. Where no
series holds, `drawn_batches.py` draws networks: `drawn_rows.py` makes their input, `drawn_layers.py` their layers.
"""
