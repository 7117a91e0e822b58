"""Search spaces: what may be searched."""
