"""The renderer of street scenes for the synthetic dataset."""
