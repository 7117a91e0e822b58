"""The search strategy: which architecture to train next, and for how long."""
