"""Recordings of live sessions: ordinary datasets of videos whose sampled frames are those that the teacher labelled.

FOLDER/videos/session_0001_0001.mkv                  frames without loss, at their times
FOLDER/labels/session_0001_0001/000012.png           the teacher's label of frame 12 of that file
FOLDER/sessions/0001.jsonl                           which label came when
FOLDER/replay/experiment/replay.yaml                 settings that replay it under a simulated clock
"""
