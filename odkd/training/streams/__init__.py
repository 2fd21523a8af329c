"""Several streams at the same time: cells of them, each with a student, and what these share.

A cell is one stream or several, whose frames one student answers. Its loop is that of a single stream (`instant.py`,
`clocked.py`), over the frames of its streams in the order of time. What cells share under a clock is a desk
(`clock/desk.py`): one order of events, and one teacher whose time is divided by turns.
"""
