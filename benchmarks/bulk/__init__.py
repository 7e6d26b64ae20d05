"""How much of what a full scan finds the cheap tiers find, and what they cost."""
