"""Ablations: a study is a list of what-if questions, each one `dvc exp run`, and their table."""
