"""Charts drawn from their descriptions, by Matplotlib (PNG, PDF, GIF) and by Plotly (the page)."""
