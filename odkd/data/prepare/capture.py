"""Record a live camera at one image per second (Houyon et al. 2023: surveillance), with reconnection.

The address may be anything that FFmpeg opens: an .m3u8 playlist, rtsp://, http://, a file. (For a page of a video
site, a downloader such as yt-dlp prints the address of the stream: yt-dlp -g PAGE.) A file is completed every
--segment-minutes, so a killed process loses at most that much; Ctrl-C completes the current file too. An interrupted
stream continues in a new file. Run the command again with the same --to to record more.
"""

import argparse
import signal
from pathlib import Path

from odkd.common.console import say
from odkd.common.dotted import command, setting
from odkd.data.video.capture import Capture, capture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument("address", metavar="URL", help="address of the stream")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="dataset folder; may exist")
    parser.add_argument("--minutes", type=float, default=60.0, help="total recording time (%(default)g)")
    parser.add_argument("--frame-rate", type=float, default=1.0, help="images per second (%(default)g)")
    parser.add_argument("--segment-minutes", type=float, default=10.0, help="minutes per file (%(default)g)")
    parser.add_argument("--pause-seconds", type=float, default=10.0, help="seconds before reconnecting (%(default)g)")
    parser.add_argument("--retries", type=int, default=30, help="consecutive attempts without an image (%(default)s)")
    parser.add_argument("--name", default="live", help="prefix of the file names (%(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Record, then print the odkd command."""
    numbers = (arguments.minutes, arguments.frame_rate, arguments.segment_minutes)
    if min(numbers) <= 0 or arguments.pause_seconds < 0 or arguments.retries < 0:
        raise ValueError(
            "--minutes, --frame-rate, --segment-minutes must be above 0; --pause-seconds, --retries at least 0"
        )
    settings = Capture(
        arguments.address,
        arguments.to / "videos",
        arguments.name,
        frame_rate=arguments.frame_rate,
        minutes=arguments.minutes,
        segment_minutes=arguments.segment_minutes,
        pause_seconds=arguments.pause_seconds,
        retries=arguments.retries,
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with SIGINT ignored
    files = capture(settings)
    if not files:
        raise ValueError(f"nothing was recorded from {arguments.address}")
    stride = max(1, round(3 * arguments.frame_rate))
    words = ["dataset=live", setting("dataset.root", str(arguments.to)), setting("dataset.stride", stride)]
    say(f"{len(files)} files in {settings.folder}; use them with\n\n{command(*words, 'teacher=segformer')}")
