"""Effects on the predictions of boosted trees, for the tables of a study."""
