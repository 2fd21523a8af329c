"""A clock for distillation: who works when, on what, and what must wait. Nothing here knows of torch.

Design. A run has five parts that take time: the uplink, which carries frames; the teacher, which labels them; the
trainer, which learns from labels; the downlink, which carries weights; and the student, which answers frames. Each of
the first four is a `Station` (stations.py): it works on one item, others wait, and a policy says what is dropped when
too many do. `stage=live` can ask the same stations, with the time of a real clock; nothing in them waits or sleeps.

`Simulation` (simulation.py) moves time from event to event. Its events lie in an `Agenda` (agenda.py), ordered by time;
at equal times what has been completed comes first, then a training that is due, then the frame that arrives; after
that, the order of entry decides. So with durations of 0 a label is there before the next training, weights are there
before the next frame, and a frame's own label is never there before the frame is answered: the protocol of
`timing=instant`.

1. Frame p arrives at the time that the stream says. The student answers it with the weights that are deployed then; if
   it is still busy with an earlier frame, that frame's answer stands.
2. If the pace (training/pace) sends the frame, it goes up: bytes / bandwidth on the link, then the delay.
3. The teacher labels it. While it is busy, `most_waiting` frames wait; more are dropped, the newest or the oldest. The
   same holds for the link.
4. A label that is there when a training begins may be learned from; those that are new enter the replay memory then.
5. A training is asked for by the pace. One can wait while another is under way; any more are left out. It lasts for as
   long as its frames take, each counted as often as it is learned from.
6. Its weights go down when it is complete. Of weights that wait for the link only the newest are kept. They are
   deployed whole, between two frames.

What a training computes is computed when it begins, from what is known then; only its use is delayed. The numbers of a
run so follow from the durations alone, and a killed run resumes to the same bits: the state of the agenda, of the
stations and of all weights in flight is in its checkpoint.

Window i is tested with the weights that the student has at each of its frames, of trainings that began before the next
step of the window; where windows do not overlap these are all weights.
"""
