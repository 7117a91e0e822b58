"""Analysis: everything computed from the records of a study."""
