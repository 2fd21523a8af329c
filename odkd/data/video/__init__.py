"""From video files to sampled frames: index, decoder, stream, frame store. Only this package opens videos."""
