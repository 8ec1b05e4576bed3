"""Other trackers and this database: MLflow's store interface over it, and runs that are pulled and pushed."""
