"""Model card of a student (Mitchell et al. 2019): network, training, scores, intended use and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from odkd.common.files import write_atomic
from odkd.common.markdown import markdown_table, plain
from odkd.common.metric_names import metric_name
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

A network for semantic segmentation, the student of the odkd run `{key}` (stage `{stage}`, started {created}).

## Model

{what}

## Training

{stage_says}

{how}

<details><summary>All settings of the run</summary>

{settings}

</details>

## Scores

"Against teacher" is agreement with the teacher, errors of the teacher included; "against ground truth" uses
true labels. {stage_measures}

{scores}

{speed}

## Intended use and limits

* For research on distillation, and as a fast replacement of its teacher on video similar to its training data.
* It is trained on one stream: it may fail on scenes outside of it, and may have forgotten scenes seen early.
* It has learned the errors of its teacher: expect the same biases and gaps.
* A class with an undefined score does not occur in the scored frames: nothing is known about it.
* Not validated for decisions about people or for any use where a wrong pixel can do harm.

## Licence

{licence}

## Loading

`odkd-predict RUN VIDEO --to FOLDER` shows the student on a video, and `odkd.load(RUN).segment(image_HWC)` labels an
image, where RUN is the folder of this card. Without odkd:

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
        "Not recorded. The weights derive from the frames of the dataset, the labels of the teacher and any\n"
        "initial weights: check the terms of all three before you share them."
    ),
    "input": f"images_BCHW, float32, RGB; size and normalisation {NOT_RECORDED} (see the settings above)",
    "load": "student = ...  # the network under `student` in the run's config.yaml",
}
WHAT = ("student", "parameters", "classes")
ONLINE = {  # applies to this stage only
    "stage_says": (
        "It was trained in one pass over a stream, in order, on a teacher's labels of past frames.\n"
        "These are its weights at the end of the stream."
    ),
    "stage_measures": (
        "Each frame was scored before the student learned from it, with its weights at that time:\n"
        "the scores show how well it followed the stream, not how well its final weights do on all of it."
    ),
}
BEFOREHAND = {
    "stage_says": "Before its pass over the stream, it was pretrained on frames of the stream, including later ones.",
    "stage_measures": "Frames were scored after the student learned from them: the scores say nothing about new data.",
}
NOTHING = {
    "stage_says": "It was not trained on the stream: these are its initial weights.",
    "stage_measures": "It was scored on frames that it was not trained on.",
}
OTHER = {"stage_says": "It was trained on a teacher's labels.", "stage_measures": ""}
EPOCHS = {  # stage of trainings over epochs -> how the student was trained
    "mckd": "Students were trained on disjoint parts of a teacher's labels and relabelled each other's parts,\n"
    "in stage.num_rounds rounds; this final student was trained on their merged labels.",
    "mckd_final": "It was trained on the merged labels that the students of an earlier run gave each other's parts.",
    "self_training": "A student was trained on a teacher's labels and relabelled all training images, in\n"
    "stage.num_rounds - 1 rounds; this final student was trained on the labels of the last one.",
    "born_again": "It was trained on a teacher's labels and on the probabilities of a student of the same size.",
    "cps": "Two students were trained together, each on a teacher's labels of one half of the images and on the other\n"
    "student's answers on the other half; this is the better one on the val split.",
    "mean_teacher": "It is the moving average of a student that was trained on a teacher's labels of a part of the\n"
    "images and on the answers of this average on all of them.",
    "distill": "It was trained on a teacher's labels of the training split.",
    "supervised": "It was trained on the true labels of the training split.",
}
ON_TEST_SPLIT = (
    "All scores except those of training labels are on the test split, which was used neither for training nor for\n"
    'model selection. "Against previous round" compares with labels from the source of its training labels.'
)


def write_card(
    run_folder: Path,
    *,
    facts: Mapping[str, str],
    summary: Mapping[str, float | None] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Path:
    """Write MODEL_CARD.md into the run folder and return it.

    Args:
        run_folder: of the run.
        facts: facts that the folder does not hold. "student", "parameters" and "classes" are listed under Model;
            "input", "load" (Python that builds `student`) and "licence" have separate places; all others, such
            as "teacher", "dataset" and "command", are listed under Training, in their order.
        summary: the final scores, if the run's summary.json is not written yet.
        settings: all settings of the run by dotted key; by default, those in run.json.
    """
    run = read_run(run_folder)
    overall, classes = final_scores(run.summary if summary is None else summary)
    what = {"student": NOT_RECORDED} | {name: facts[name] for name in WHAT if name in facts}
    how = {name: value for name, value in facts.items() if name not in what and name not in DEFAULTS}
    speeds = [f"{name} {speed:.3g}" for name, speed in mean_speeds(run.metrics).items()]
    scores = [_score_table("score (0 to 1)", overall), _score_table("IoU of class", classes)]
    text = TEMPLATE.format(
        name=run.name,
        key=run.key,
        stage=run.stage,
        created=f"{run.created:%Y-%m-%d}",
        what=markdown_table(("", ""), what.items()),
        how=markdown_table(("", ""), ({"teacher": NOT_RECORDED, "dataset": NOT_RECORDED} | how).items()),
        settings=markdown_table(("setting", "value"), (run.params if settings is None else settings).items()),
        scores="\n\n".join(filter(None, scores)) or "Not recorded.",
        speed=f"Frames per second on the machine of the run: {', '.join(speeds)}." if speeds else "",
        **_stage_texts(run),
        **(DEFAULTS | {name: _said(name, facts[name]) for name in DEFAULTS if name in facts}),
    )
    path = run_folder / "MODEL_CARD.md"
    write_atomic(path, text.encode())
    return path


def _said(name: str, text: str) -> str:
    return text if name == "load" else plain(text)  # that is code, in a block


def _stage_texts(run: Run) -> dict[str, str]:
    if run.stage != "online":
        says = EPOCHS.get(run.stage)
        return {"stage_says": says, "stage_measures": ON_TEST_SPLIT} if says else OTHER
    if run.params.get("stage.pretrain_positions", "0") != "0":
        return BEFOREHAND
    has_learned = any(metric_name("learn", "loss_total") in line["metrics"] for line in run.metrics)
    return ONLINE if has_learned else NOTHING


def _score_table(title: str, scores: Mapping[str, Sequence[float]]) -> str:
    columns = known_references(scores.values())
    rows = ([name, *(number(row[column]) for column in columns)] for name, row in scores.items())
    return markdown_table((title, *(REFERENCES[column] for column in columns)), rows) if scores else ""
