"""Backbone, DeepLab-v2, PRN, BRN and their assembly."""
