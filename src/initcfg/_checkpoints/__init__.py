"""Checkpoints: opened safely, read lazily. ``reader`` is what the rest of the package sees of any of them."""
