"""Attribution: influence and its sign, batches of queries, scores, certificates."""
