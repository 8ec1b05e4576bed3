"""Log lines: taken apart, put together, read."""
