"""Wrong spans of tagged sentences, with noise of five kinds."""
