"""Audits from a Python session: models and tables as objects, results that display themselves."""
