"""What comes in: official archives, scribbles, masks and images."""
