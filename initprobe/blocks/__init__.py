"""What surrounds an activation: norms, skips, and losses behind the last layer.

What comes in here: records of these, with formulas, that read no config and know no network. A new norm or loss is a
record in `norms` or `losses`. Start with `skips`, whose `Wiring` says what surrounds the activation of each layer.
"""
