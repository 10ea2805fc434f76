"""Edge detection: the teacher of the boundary network."""
