"""Everything that is computed from the records of a study."""
