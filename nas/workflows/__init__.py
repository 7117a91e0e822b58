"""From start to end: a search, a confirmation, a retraining."""
