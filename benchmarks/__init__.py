"""What expdb's speed is measured with; results stand in RESULTS.md."""
