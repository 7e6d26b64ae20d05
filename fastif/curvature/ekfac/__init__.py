"""EK-FAC: eigenvalue-corrected Kronecker factors, and exact blocks where these do not fit."""
