"""The commands, each with its help, its arguments and what it does."""
