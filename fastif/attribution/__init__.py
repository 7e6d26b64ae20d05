"""Attribution: removal effects and their sign, batches of queries, scorers, certificates."""
