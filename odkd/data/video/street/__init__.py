"""The rendered street scene behind the synthetic dataset."""
