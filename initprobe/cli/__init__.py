"""The command line: parse, call, print. Each command loads what it needs when it runs."""
