"""Tables and HTML pages, put together of charts and captions."""
