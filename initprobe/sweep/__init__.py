"""Many experiments from one file: planned, run in parallel, kept in one database, judged."""
