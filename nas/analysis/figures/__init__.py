"""Records as plotly figures: numbers first, then the figure of them."""
