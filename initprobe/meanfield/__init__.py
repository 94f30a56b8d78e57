"""Mean-field theory: what networks of infinite width do, and how far a network of finite width deviates from it.

What comes in: an `Activation` record, the layers' variance rules (`layer.Layer`) and measured moments of the input
(`input_moments.InputMoments`). The room reads no config and no results; `prediction` joins theory and experiment.

Start reading in `layer.py` (the conventions and the records), then `propagate.py` (forward) and `predict.py` (all
predictions of a plain network). `moments.py` and `quadrature.py` compute Gaussian integrals, `correlated_pairs.py`
those of two inputs. `norm_and_skip.py` is the theory of normalised and residual networks. `backward.py` has the
gradients of plain networks. `finite_width.py` gives the spread at finite width, with `lengths.py`, `unit_noise.py`,
`gradient_spread.py` and, for unstable length maps, `uncertainty.py`. `phase.py` and `gain.py` answer
questions about infinite depth.
"""
