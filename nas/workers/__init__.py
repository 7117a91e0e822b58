"""Who trains, and how workers are kept alive."""
