"""Recordings of live sessions: ordinary datasets of videos, of the frames that the session sampled.

    FOLDER/videos/session_0001_0001.mkv             frames at the student's size, without loss, at their times
    FOLDER/labels/session_0001_0001/000012.png      label of frame 12 of that file: all 255 if the teacher made none
    FOLDER/sessions/0001.jsonl                      which label came when
    FOLDER/replay/experiment/replay.yaml            settings that replay it, with dataset, teacher and clock beside it

A frame without a label is answered, tested on no pixel, and never seen by the teacher (training/recorded.py).
"""
