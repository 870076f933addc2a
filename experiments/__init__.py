"""Experiments: run them from the top folder, as in `python -m experiments.crossval DATA`."""
