"""Which change broke it: injected incidents, and the group of rows that `fastif bisect` ranks first."""
