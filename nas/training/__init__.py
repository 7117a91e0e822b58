"""Trains one architecture."""
