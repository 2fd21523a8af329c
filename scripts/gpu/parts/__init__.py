"""One module a part of the check; each has `measure(place, result)`."""
