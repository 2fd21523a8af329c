"""One readable file a method. A stage is a function; `build.py` hands it the parts that its arguments name."""
