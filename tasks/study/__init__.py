"""The study file: its sections, their validation, and one error that lists all that is wrong."""
