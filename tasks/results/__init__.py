"""Results: summaries, diagnostics, comparisons, alerts, exports, retention."""
