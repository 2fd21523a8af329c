"""A live camera recorded at one picture a second (Houyon et al. 2023: surveillance), with reconnection.

The address may be anything that FFmpeg opens: an .m3u8 playlist, rtsp://, http://, a file. (For a page of a video
site, ask a downloader such as yt-dlp for the address of the stream: yt-dlp -g PAGE.) Every --segment-minutes a file is
finished, so a kill loses at most so much; Ctrl-C finishes the current file too. Where the stream breaks off, a new
file begins. Run it again with the same --to to record more.
"""

import argparse
import signal
from pathlib import Path

from odkd.data.video.capture import Capture, capture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this subcommand."""
    parser.add_argument("address", metavar="URL", help="of the stream")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="of the dataset; may be there already")
    parser.add_argument("--minutes", type=float, default=60.0, help="to record in all (%(default)g)")
    parser.add_argument("--frame-rate", type=float, default=1.0, help="pictures a second (%(default)g)")
    parser.add_argument("--segment-minutes", type=float, default=10.0, help="of one file (%(default)g)")
    parser.add_argument("--pause-seconds", type=float, default=10.0, help="before it is opened again (%(default)g)")
    parser.add_argument("--retries", type=int, default=30, help="in a row without a picture (%(default)s)")
    parser.add_argument("--name", default="live", help="of the files (%(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Record, print the command."""
    numbers = (arguments.minutes, arguments.frame_rate, arguments.segment_minutes)
    if min(numbers) <= 0 or arguments.pause_seconds < 0 or arguments.retries < 0:
        raise ValueError("--minutes, --frame-rate and --segment-minutes must be above 0, the other numbers at least 0")
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
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with Ctrl-C ignored
    files = capture(settings)
    if not files:
        raise ValueError(f"nothing was recorded of {arguments.address}")
    stride = max(1, round(3 * arguments.frame_rate))
    print(
        f"{len(files)} files in {settings.folder}; use them with\n\n"
        f"odkd dataset=live dataset.root={arguments.to} dataset.stride={stride} teacher=segformer"
    )
