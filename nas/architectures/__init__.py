"""A network as data, as a torch module, and what it costs."""
