"""The terminal: panels and tables of what other rooms have computed."""
