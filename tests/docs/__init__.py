"""Tests of the documentation: its code runs, its commands, keys and messages exist."""
