"""A live session: three processes around a stream that does not wait, and none of them waits for another.

The answering process is that of the run. A thread reads the source at its real speed; the main thread answers every
frame that it can; it keeps the journal, the metrics and the page. Two child processes, the teacher and the trainer,
talk with it alone, each through a pipe of small messages. So a child that dies leaves no lock behind and nobody else
hangs: the answering process knows what the child had in hand, and starts it again.

1. A sampled frame goes to the teacher, if the pace (training/pace) says so: into one of a few slots of shared memory
   (slots.py). What the teacher has no time for waits or is dropped by the policy of a `Station` (training/clock).
2. The teacher writes the label into the same slot. The answering process scores its own answer with it (scoring.py),
   and passes the number of the slot to the trainer, which takes frame and label into its own memory (kept.py).
3. A training begins when the pace asks for it; one more may wait. It uses replay, learner, regularizer, updates as
   the simulated clock does (training/clocked.py).
4. Its weights come back through one of two buffers of shared memory (buffers.py), and are swapped whole between two
   frames (answering.py). Of two that wait, the older one is dropped.

Who owns a slot or a buffer is known in the answering process only (traffic.py): there is nothing to lock between
processes. `Worker` (worker.py) starts a child, listens to it, and starts it again after a time that doubles.
"""
