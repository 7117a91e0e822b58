"""Exports a trained network as files that do not need nas."""
