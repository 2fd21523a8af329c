"""Video files to sampled frames: index, decode, stream, frame store. Nothing else touches a video."""
