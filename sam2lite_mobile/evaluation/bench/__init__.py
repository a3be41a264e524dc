"""The benchmark: students, packages and a peer, one frame each in turn, in one process, on two clocks."""
