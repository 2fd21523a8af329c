"""Small tools that every room uses; they import nothing of ours but each other."""
