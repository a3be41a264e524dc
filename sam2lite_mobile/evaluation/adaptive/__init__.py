"""Adaptive inference measured: latency tables, a simulated device, sweeps of the scheduler, and real load."""
