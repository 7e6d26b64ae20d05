"""The whole review loop on NoisyAG-News: search, review in the page, correction, second run."""
