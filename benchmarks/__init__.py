"""Benchmarks. Each writes its result as JSON into results/ and its pages into docs/results."""
