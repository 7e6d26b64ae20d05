"""Influence on a torch module of one's own, through a study, against retraining."""
