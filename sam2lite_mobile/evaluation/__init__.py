"""Measuring a tracker: the DAVIS measures, the data sets in DAVIS layout, the evaluation loop and its result file."""
