"""Optuna storages, their locks, and the recovery of orphaned trials."""
