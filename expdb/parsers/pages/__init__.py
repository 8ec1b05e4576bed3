"""Report pages: markup and result tables."""
