"""One file = one way to make a weight update, defined by an `Algorithm` named as the file."""
