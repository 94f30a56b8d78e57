"""The finite network and its statistics."""
