"""The surrogate model of accuracy, and what is encoded for it."""
