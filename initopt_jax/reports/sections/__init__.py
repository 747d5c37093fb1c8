"""Groups of figures of a report with their captions."""
