"""Workers that train trials, and the supervisor that keeps them alive."""
