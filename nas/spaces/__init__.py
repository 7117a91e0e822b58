"""Search spaces: the architectures that a search may propose."""
