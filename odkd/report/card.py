"""Model card of a student (Mitchell et al. 2019): what it is, how it was made, how good it is, its limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from odkd.common.files import write_atomic
from odkd.report import REFERENCES, final_scores, known_references, mean_speeds, number
from odkd.runs.results import Run, read_run

NOT_RECORDED = "not recorded"

TEMPLATE = """\
---
library_name: odkd
pipeline_tag: image-segmentation
tags: [semantic-segmentation, knowledge-distillation]
license: other
---

# {name}

A network for semantic segmentation, the student of the odkd run `{key}` (stage `{stage}`, begun {created}).

## What it is

{what}

## How it was made

{stage_says}

{how}

<details><summary>All settings of the run</summary>

{settings}

</details>

## Scores

"Against teacher" is agreement with the teacher, whose mistakes count as right; "against ground truth" uses
true labels. {stage_measures}

{scores}

{speed}

## Intended use and limits

* For research on distillation, and as a fast stand-in for its teacher on video like the one it learned from.
* It knows one stream: expect it to fail on scenes it never met and to have forgotten some that lie far back.
* It learned its teacher's mistakes with the rest: biases and gaps of the teacher are its own.
* A class whose score is undefined was in no frame that was scored: nothing is known about it.
* Not validated for decisions about people or for anything where a wrong pixel can harm.

## Licence

{licence}

## How to load it

```python
from safetensors.torch import load_file

{load}
student.load_state_dict(load_file("student.safetensors"))
student.eval()
logits_BKHW = student(images_BCHW)  # class ids: logits_BKHW.argmax(1), in the order of the classes above
```

Input: {input}
"""

DEFAULTS = {
    "licence": (
        "Not recorded. The weights come from the dataset's frames, the teacher's labels and any initial\n"
        "weights: check the terms of all three before you share them."
    ),
    "input": f"images_BCHW, float32, RGB; size and normalisation {NOT_RECORDED} (see the settings above)",
    "load": "student = ...  # the network that the run's config.yaml names under `student`",
}
WHAT = ("student", "parameters", "classes")
ONLINE = {  # true of this stage alone
    "stage_says": (
        "It went through a stream once, in order, learning from a teacher's labels of the frames gone by.\n"
        "These are its weights at the end of the stream."
    ),
    "stage_measures": (
        "Each frame was scored before the student had learned from it, by the weights of that moment:\n"
        "the scores tell how well it followed the stream, not how well its final weights do on all of it."
    ),
}
BEFOREHAND = {
    "stage_says": "It learned from the stream's frames before it went through the stream, the future included.",
    "stage_measures": "Frames were scored after the student had learned from them: the scores are no forecast.",
}
NOTHING = {
    "stage_says": "It has learned nothing from the stream: these are the weights that it began with.",
    "stage_measures": "It was scored on frames that it never learned from.",
}
OTHER = {"stage_says": "It learned from a teacher's labels.", "stage_measures": ""}
EPOCHS = {  # of trainings over epochs
    "mckd": "Students learned from disjoint parts of a teacher's labels and relabelled each other's parts,\n"
    "as often as stage.num_rounds says; it is a last student that learned from their merged labels.",
    "mckd_final": "It learned from the merged labels of an earlier run's students, who relabelled each other's parts.",
    "distill": "It learned from a teacher's labels of the training split.",
    "supervised": "It learned from the true labels of the training split.",
}
ON_TEST_SPLIT = (
    "All scores but those of training labels are on the test split,\n"
    'which nothing was learned from or chosen by. "Previous stage" is the labels that it learned from or would have.'
)


def write_card(
    run_folder: Path,
    *,
    facts: Mapping[str, str],
    summary: Mapping[str, float | None] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Path:
    """Writes MODEL_CARD.md into the run folder and returns it.

    Args:
        run_folder: of the run.
        facts: what the folder does not say. "student", "parameters" and "classes" say what it is; "input",
            "load" (Python that builds `student`) and "licence" have places of their own; all others, such as
            "teacher", "dataset" and "command", tell how it was made, in their order.
        summary: the final scores, where the run's summary.json is not written yet.
        settings: all of the run's, by dotted key; without, those that run.json shows.
    """
    run = read_run(run_folder)
    whole, classes = final_scores(run.summary if summary is None else summary)
    what = {"student": NOT_RECORDED} | {name: facts[name] for name in WHAT if name in facts}
    how = {name: value for name, value in facts.items() if name not in what and name not in DEFAULTS}
    speeds = [f"{name} {speed:.3g}" for name, speed in mean_speeds(run.metrics).items()]
    scores = [_score_table("score (0 to 1)", whole), _score_table("IoU of class", classes)]
    text = TEMPLATE.format(
        name=run.name,
        key=run.key,
        stage=run.stage,
        created=f"{run.created:%Y-%m-%d}",
        what=_table(("", ""), what.items()),
        how=_table(("", ""), ({"teacher": NOT_RECORDED, "dataset": NOT_RECORDED} | how).items()),
        settings=_table(("setting", "value"), (run.params if settings is None else settings).items()),
        scores="\n\n".join(filter(None, scores)) or "Not recorded.",
        speed=f"Frames per second on the machine of the run: {', '.join(speeds)}." if speeds else "",
        **_stage_texts(run),
        **(DEFAULTS | {name: facts[name] for name in DEFAULTS if name in facts}),
    )
    path = run_folder / "MODEL_CARD.md"
    write_atomic(path, text.encode())
    return path


def _stage_texts(run: Run) -> dict[str, str]:
    if run.stage != "online":
        says = EPOCHS.get(run.stage)
        return {"stage_says": says, "stage_measures": ON_TEST_SPLIT} if says else OTHER
    if run.params.get("stage.pretrain_positions", "0") != "0":
        return BEFOREHAND
    return NOTHING if run.params.get("replay._target_", "").endswith(".Nothing") else ONLINE


def _score_table(title: str, scores: Mapping[str, Sequence[float]]) -> str:
    columns = known_references(scores.values())
    rows = ([name, *(number(row[column]) for column in columns)] for name, row in scores.items())
    return _table((title, *(REFERENCES[column] for column in columns)), rows) if scores else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
