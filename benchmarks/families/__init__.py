"""Support of all sequence classifier families of transformers, tested on tiny models."""
