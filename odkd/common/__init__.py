"""Utilities for all packages; they import no other package of odkd."""
