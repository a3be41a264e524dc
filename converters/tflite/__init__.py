"""TFLite: one model for LiteRT, a signature for every graph and size, INT8 by the policy, weights stored once."""
