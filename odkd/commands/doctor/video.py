"""The decoder and encoder of videos: their releases, their codecs, and a try of both."""

from __future__ import annotations

from odkd.commands.doctor.findings import Finding, Section
from odkd.common.reading import brief

EXPECTED = ("h264", "hevc", "vp9", "mpeg4", "mjpeg")


def check_video() -> Section:
    """Try what a run reads and writes."""
    from odkd.data.video.codecs import can_write, libraries, readable, try_video

    found, codecs = libraries(), readable()
    findings = [Finding("ok", f"PyAV {found['av']} with avcodec {found['libavcodec']} reads {', '.join(codecs)}")]
    if missing := [name for name in EXPECTED if name not in codecs]:
        advice = "install PyAV's own wheel: pip install --force-reinstall av"
        findings.append(Finding("warning", f"this build of PyAV cannot read {', '.join(missing)}", advice))
    if not {"av1", "libdav1d"} & set(codecs):
        findings.append(Finding("note", "this build of PyAV cannot read AV1"))
    if not can_write():
        advice = "pip install --force-reinstall av, or run.overlay_video=false"
        findings.append(Finding("broken", "this build of PyAV has no libx264, which writes overlay videos", advice))
        return Section(findings, {**found, "codecs": codecs})
    try:
        try_video()
        findings.append(Finding("ok", "a video was written and read back"))
    except Exception as error:  # whatever a broken build of FFmpeg raises
        text = f"a video that was written could not be read back: {brief(error)}"
        findings.append(Finding("broken", text, "pip install --force-reinstall av"))
    return Section(findings, {**found, "codecs": codecs})
