"""Measurements, to be run by hand: `make bench`, or one file by `python -m bench.NAME`."""
