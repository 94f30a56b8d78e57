"""Theory on the graph of operations: what independent weights of the measured variance do, forward and backward.

What comes in here: the trace of a pass, the moments of tensors, and a rule per operation. A rule takes
the moments of the inputs to those of the output. On the way back it gives the gradients of the inputs. A verdict does
not belong here. Start reading in `columns.py`.
"""
