"""Semantic segmentation from scribbles with Boundary Perception Guidance (IJCAI 2019)."""
