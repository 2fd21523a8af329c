"""Scores of students: metrics, and the positions, splits and times at which they are computed."""
