"""How a student is scored."""
