"""What a GPU gives: correctness, speed and figures in minutes (docs/gpu.md)."""
