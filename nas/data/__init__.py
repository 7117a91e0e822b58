"""Loads images from any source as arrays, split once and cached."""
