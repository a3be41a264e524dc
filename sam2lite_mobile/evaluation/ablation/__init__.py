"""What the choices at inference are worth: one at a time, around the default."""
