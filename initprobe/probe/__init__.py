"""Running one experiment: from a config to a result with statistics, theory and a diagnosis.

What comes in here: what joins the rooms below into a run. Arithmetic on tensors belongs to `engine`, theory to
`meanfield` and `prediction`, rules to `diagnosis`.

Start with `run`. Then `experiment` (the input), `networks` (the weights), `passes` (forward and back), `buffers` (who
owns which memory), `summarise` (from records to statistics), `memory` (what a run takes), `names` and `describe` (its
file name and its title).
"""
