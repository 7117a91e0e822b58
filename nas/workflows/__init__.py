"""End-to-end workflows: search, confirmation, retraining, and replays of searches on tabular benchmarks."""
