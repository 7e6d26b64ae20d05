"""Training: fits, exact retraining, the proximal Bregman response and training dynamics."""
