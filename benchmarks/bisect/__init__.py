"""Which change broke it: injected incidents and the group that `fastif bisect` ranks first."""
