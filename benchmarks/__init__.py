"""Measurements. Each writes its numbers as JSON into results/ and a section of docs/results.md."""
