"""Converters: from a student's checkpoint to packages for phones. One folder per target, one registry, one gate.

Reading order: options (what is asked for), registry (who can do it), recording (real inputs), gates (what is measured),
limits (what has to be reached), then the folder of a target.
"""
