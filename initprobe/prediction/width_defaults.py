"""Defaults of a coordinate check; the command line reads them, so this module imports nothing."""

DEFAULT_WIDTHS, DEFAULT_SEEDS, DEFAULT_STEPS, DEFAULT_OPTIMIZER = (64, 128, 256, 512), 3, 3, "adamw"
