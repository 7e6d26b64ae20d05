"""The first day: from the files of a new user to a first result, by the printed commands alone."""
