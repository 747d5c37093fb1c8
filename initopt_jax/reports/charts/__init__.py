"""What charts show: descriptions as plain data, their numbers, and captions from the numbers."""
