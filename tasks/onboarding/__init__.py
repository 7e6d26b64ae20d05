"""Onboarding: a study file is inferred from a model and its tables, by `fastif init`."""
