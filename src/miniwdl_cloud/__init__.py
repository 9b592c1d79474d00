"""Run WDL workflows on AWS with miniwdl."""

__version__ = "0.1.0"
