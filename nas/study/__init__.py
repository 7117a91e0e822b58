"""What is kept of a search: its configuration, its records, its storage."""
