"""EK-FAC: eigenvalue-corrected Kronecker factors, and dense or diagonal blocks for other layers."""
