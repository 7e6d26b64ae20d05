"""EK-FAC: eigenvalue-corrected Kronecker factors, with dense and diagonal blocks beside them."""
