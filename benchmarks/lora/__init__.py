"""Fidelity of influence on a LoRA adapter, against retraining on random halves."""
