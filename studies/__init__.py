"""Ablations: a study is a list of settings, each of them one `dvc exp run`, and their table."""
