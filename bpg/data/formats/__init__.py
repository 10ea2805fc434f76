"""Readers of what annotation tools write, one file a format."""
