"""Architectures as data and as torch modules, with their cost and latency."""
