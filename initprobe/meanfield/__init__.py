"""What infinitely wide networks do, and how far a finite one strays: theory for any `Activation` record."""
