"""Other trackers and ours: MLflow's store over our database. Nothing here is imported before it is asked for."""
