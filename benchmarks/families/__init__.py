"""Every family of sequence classifiers that transformers has: exact, uncut only, or refused."""
