"""Faults that the embedded AWS brings about by a seeded plan; see docs/testing-failures.md."""
