"""The study file: its sections, their validation, and one error that lists every problem."""
