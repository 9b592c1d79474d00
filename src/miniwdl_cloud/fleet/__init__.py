"""The fleet: what its manager and its workers do by themselves, and what people do with it."""
