"""Training of students: losses, replay, regularizers, and the loops that use them."""
