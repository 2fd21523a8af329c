"""The web page of a run that is going on: what it is shown (view.py), and the server that shows it."""
