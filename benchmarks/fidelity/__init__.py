"""How well predicted effects agree with retraining, for fastif and for its peers."""
