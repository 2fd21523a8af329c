"""What `scripts/gpu_check.py` consists of: its parts, how they are run within a time, and its report."""
