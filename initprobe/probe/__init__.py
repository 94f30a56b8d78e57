"""Running one experiment: from a config to a result with statistics, theory and a diagnosis.

What comes in here: what joins the rooms below into a run. Arithmetic on tensors belongs to `engine`, theory to
`meanfield` and `prediction`, rules to `diagnosis`.

Start with `run`. Then come `experiment` (the input), `networks` (the weights), `passes` (forward and back) and
`buffers` (who owns which memory). `summarise` makes statistics from records, and `memory` says how much memory a run
takes. `names` and `describe` make its file name and its title.
"""
