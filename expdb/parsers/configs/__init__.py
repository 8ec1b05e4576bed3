"""Settings printed around a training."""
