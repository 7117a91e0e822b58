"""One architecture trained."""
