"""Tables of text, a row per step or per run."""
