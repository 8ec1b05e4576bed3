"""JSON: records, series and documents."""
