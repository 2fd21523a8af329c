"""Frames and label maps, by position of the stream."""
