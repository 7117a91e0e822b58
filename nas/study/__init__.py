"""Studies: the configuration, trial records and storage of searches."""
