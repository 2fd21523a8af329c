"""Frames and label maps, addressed by position in the stream."""
