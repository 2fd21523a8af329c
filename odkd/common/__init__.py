"""Small tools for all other folders of odkd; they import nothing else of odkd."""
