"""The command line: one file for each group of commands. It may import everything; nothing imports it."""
