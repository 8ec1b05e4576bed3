"""The only room that speaks SQL: one SQLite file, or PostgreSQL, that holds experiments, runs, metrics and points."""
