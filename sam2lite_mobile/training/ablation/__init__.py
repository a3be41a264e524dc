"""Ablations of training: the same short recipe with one thing changed, several seeds, one table."""
