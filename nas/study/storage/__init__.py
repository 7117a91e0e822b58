"""Optuna's storages, and everything that only one process may do at a time."""
