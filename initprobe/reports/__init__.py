"""Results as tables, pictures and files. Nothing here computes a statistic."""
