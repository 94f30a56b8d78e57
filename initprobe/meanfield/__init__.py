"""What infinitely wide networks do, and how far a finite one strays: theory that needs an `Activation` and a few numbers."""
