"""What the packages are made of: figures of the import graph, and the table of modules in docs."""
