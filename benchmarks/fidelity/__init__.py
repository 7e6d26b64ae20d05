"""Agreement of predicted effects with retraining, for fastif and other packages."""
