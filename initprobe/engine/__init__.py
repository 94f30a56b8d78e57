"""The network of finite width: its layers forward and back, its threads, and the statistics of its tensors.

What comes in here: arithmetic on arrays of one layer or one tensor. It reads no config, knows no result and no theory.

Start with `mlp`, one layer forward and back. `threads` shares the work; `streams` makes random numbers reproducible.
A tensor becomes statistics in this order: `buckets` (a block), `sketch` (the tensor), `quantiles` (what is reported).
`moments` has means and variances, and `layer_record` all tensors of a layer.
"""
