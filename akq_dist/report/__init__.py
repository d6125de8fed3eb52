"""Plotly figures, and pages that hold them and fetch nothing: pure functions of arrays."""
