"""Frozen teachers: what they segment, attend to and read, frame by frame of a training clip."""
