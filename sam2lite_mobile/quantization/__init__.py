"""Precision: one policy as data, the ranges of activations, and fake quantization for quantization-aware training."""
