"""Run folders as finished runs leave them, with scores that look real: for tests of plots, tables and pages."""

import json
import math
from pathlib import Path

import numpy as np

CLASSES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]


def make_run(
    folder: Path,
    *,
    num_iterations: int = 30,
    classes: list[str] = CLASSES,
    groundtruth: bool = True,
    period: int = 8,
) -> Path:
    """Write a run folder like a finished run's: mIoU falls at each change of domain, the last class is rare."""
    random = np.random.default_rng(0)
    num_classes = len(classes)
    base = random.uniform(0.3, 0.95, num_classes)
    suffixes = ["", "_groundtruth"] if groundtruth else [""]
    (folder / "plots").mkdir(parents=True)
    lines, timing = [], []
    for iteration in range(num_iterations):
        recovered = 1 - 0.5 * math.exp(-(iteration % period) / 2)
        metrics: dict[str, float | None] = {
            "stream/position": 20 * iteration,
            "stream/seconds": 60.0 * iteration,
            "learn/loss_cross_entropy": 2.2 * (1.15 - recovered) + random.uniform(0, 0.05),
        }
        for suffix, drop in zip(suffixes, (0.0, 0.08), strict=False):
            iou = np.clip(base * recovered - drop + random.normal(0, 0.02, num_classes), 0, 1)
            iou[-1] = math.nan if iteration % 3 else iou[-1]
            metrics[f"test/miou{suffix}"] = None if iteration == 12 else float(np.nanmean(iou))
            metrics[f"test/miou_per_frame{suffix}"] = float(np.nanmean(iou)) - 0.03
            metrics[f"test/accuracy{suffix}"] = min(1.0, float(np.nanmean(iou)) + 0.25)
            named = zip(classes, iou.tolist(), strict=True)
            metrics |= {f"test/iou{suffix}/{name}": None if math.isnan(x) else x for name, x in named}
        domain = ("day", "night")[iteration // period % 2]
        lines.append({"iteration": iteration, "position": 20 * iteration, "metrics": metrics, "domain": domain})
        rates = {"time/learn_seconds": 4.0, "time/learn_frames_per_second": 16.75 + random.normal(0, 0.3)}
        rates |= {"time/evaluate_seconds": 0.5, "time/evaluate_frames_per_second": 40.0 + random.normal(0, 2)}
        timing.append({"iteration": iteration, "time": 1.79e9 + iteration, "metrics": rates})
    for name, records in (("metrics", lines), ("timing", timing)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    scores = {key.removeprefix("test/"): x for key, x in lines[-1]["metrics"].items() if key.startswith("test/")}
    summary = {f"total/{key}": x for key, x in scores.items() if not key.startswith("miou_per_frame")}
    summary |= {f"mean/{key}": x for key, x in scores.items() if not key.startswith("iou")}
    (folder / "summary.json").write_text(json.dumps(summary | {"num_iterations": num_iterations}))
    noise = random.dirichlet(np.full(num_classes, 0.4), num_classes) * 0.3 + np.eye(num_classes) * 0.7
    confusion = (noise * random.dirichlet(np.full(num_classes, 0.7))[:, None] * 1e8).astype(np.int64)
    np.savez(folder / "confusion.npz", teacher=confusion, **({"groundtruth": confusion} if groundtruth else {}))
    params = {
        "seed": "0",
        "window.learn": "67",
        "window.test": "20",
        "window.step": "20",
        "optimizer.lr": "0.0001",
    }
    run = {"key": "3f2a9c", "name": "online-camvid-tinynet", "stage": "online", "status": "finished"}
    run |= {"created": "2026-11-20T10:00:00+00:00", "params": params, "tags": {"git.commit": "abc123"}}
    (folder / "run.json").write_text(json.dumps(run))
    tracking = {
        "tracking_uri": "sqlite:////somewhere/outputs/mlflow.db",
        "experiment": "odkd",
        "run_id": "r1",
    }
    (folder / "mlflow.json").write_text(json.dumps(tracking))
    for name in ("overlay.mp4", "results.csv", "student.safetensors", "MODEL_CARD.md"):
        (folder / name).touch()
    return folder
