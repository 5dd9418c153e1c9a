"""A run: its directory, what lies where in it, stages in order, and the store of what is finished."""
