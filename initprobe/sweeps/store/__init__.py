"""sweeps.store"""
