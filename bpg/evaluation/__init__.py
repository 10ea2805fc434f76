"""How good predicted masks are: regions, boundaries, and how sure a difference is."""
