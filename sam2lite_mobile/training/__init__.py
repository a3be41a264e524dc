"""Training of the student: clips from videos and stills, losses, recipes, and the loop."""
