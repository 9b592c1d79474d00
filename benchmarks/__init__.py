"""Measurements of miniwdl-cloud on the embedded AWS; `bench.py` is the command."""
