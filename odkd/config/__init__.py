"""From YAML to a checked config to objects."""
