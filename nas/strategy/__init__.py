"""The search strategy: what is trained next, and for how long."""
