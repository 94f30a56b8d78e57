"""Findings: what the numbers of a result mean. Start reading in `diagnose.py`.

What may come in: rules that read a `ProbeResult` and thresholds, and nothing else. A rule is a function and its text in
the tuple `RULES` of a module here; `diagnose.py` joins these tuples. Rules for PyTorch models are in `torch/verdict/`.
"""
