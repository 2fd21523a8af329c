"""What a command leaves: everything that may not depend on how often it was interrupted, by name."""

import contextlib
import hashlib
import re
import sqlite3
from pathlib import Path

# Times, logs, versions of the process and pages that show them may differ; these may not.
RESULTS = (
    "runs/*/metrics.jsonl",
    "runs/*/summary.json",
    "runs/*/confusion.npz",
    "runs/*/pseudo_labels.json",
    "runs/*/*.safetensors",
    "runs/*/students/*",
    "runs/*/splits/*",
    "runs/*/predictions/**/*",
    "runs/*/overlay.mp4",
    "cache/labels/*/*/**/c/**/*",
    "cache/frames/*/frames.raw",
    "cache/synthetic/*/videos/*",
)
# A sweep's scores are sent now and then while its jobs end: only the newest of them is a result.
SUPERSEDED = """key LIKE 'summary/sweep_%' AND timestamp <
    (SELECT max(timestamp) FROM metrics AS other WHERE other.run_uuid = metrics.run_uuid AND other.key = metrics.key)"""
NUMBERS = f"SELECT run_uuid, key, step, value, is_nan FROM metrics WHERE key NOT LIKE 'time/%' AND NOT ({SUPERSEDED})"


def state_of(outputs: Path, *, has_mlflow: bool) -> dict[str, str]:
    """Return the digest of each result, by its name; keys of runs are the same in every folder."""
    state = {}
    for pattern in RESULTS:
        for path in outputs.glob(pattern):
            if path.is_file() and not path.name.startswith("."):  # of a killed process; `odkd-labels prune` finds it
                state[str(path.relative_to(outputs))] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    for path in outputs.glob("runs/**/.*.tmp"):
        state[f"left over: {re.sub('[0-9a-f]{32}', '*', str(path.relative_to(outputs)))}"] = "a temporary file"
    return state | (_in_mlflow(outputs / "mlflow.db") if has_mlflow else {})


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Return what is lost, wrong or too much, one line each."""
    lost = [f"lost: {name}" for name in expected.keys() - found.keys()]
    more = [f"too much: {name}" for name in found.keys() - expected.keys()]
    wrong = [f"wrong: {name}" for name in expected.keys() & found.keys() if expected[name] != found[name]]
    return sorted(lost + more + wrong)


def _in_mlflow(path: Path) -> dict[str, str]:
    """Return what MLflow holds of each run, by the run's key; duplicates have names of their own."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        keys = dict(database.execute("SELECT run_uuid, value FROM tags WHERE key = 'odkd.run_key'"))
        runs = database.execute("SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'").fetchall()
        state: dict[str, str] = {}
        for run, status in runs:
            name = f"MLflow run {keys[run][:8]}"
            while name in state:
                name += ", again"
            state[name] = status
            rows = sorted(row[1:] for row in database.execute(NUMBERS) if row[0] == run)
            state[f"{name}: rows"] = hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
        twice = database.execute(
            f"SELECT key, step, count(*) FROM metrics WHERE NOT ({SUPERSEDED}) GROUP BY run_uuid, key, step "
            "HAVING count(*) > 1"
        ).fetchall()
        return state | {f"MLflow row {key} {step}": f"{number} times" for key, step, number in twice}
