"""Theory on the graph of operations: what independent weights of the measured variance do, forward and backward.

What comes in here: the trace of a pass, the moments of a tensor, and a rule for each kind of operation. A rule makes
the moments of the output of those of the inputs, and on the way back the gradients of the inputs. A verdict does not
belong here. Start reading in `columns.py`.
"""
