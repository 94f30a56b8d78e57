"""Contracts: which initialization each parameter of a model was meant to have, and whether it has it.

A contract maps patterns of parameter names to rules. Start reading in `judge.py`.
This room knows arrays and rules, but not PyTorch: `initprobe.torch.values` makes the `Parameter` records.
"""
