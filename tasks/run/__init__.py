"""Runs: their plan, their open context, their artifacts, and reuse of earlier runs."""
