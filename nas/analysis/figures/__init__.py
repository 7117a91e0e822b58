"""Plotly figures of a study's records: plain numbers first, then the figure that draws them."""
