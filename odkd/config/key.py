"""The key of a run: what of its parts is in it, beside its settings."""

from dataclasses import asdict
from typing import Any

from odkd.config.identity import run_key


def key_of(parts: Any) -> str:
    """Return the digest of everything that determines a run's numbers.

    Args:
        parts: the run's `config.parts.Parts`, which imports this module.
    """
    used_truth = parts.groundtruth_digest if parts.uses_groundtruth else None
    identity = parts.teacher_identity if parts.has_teacher else None
    facts: list[Any] = [parts.device.type, identity, parts.stream_parts.planned.digest, used_truth]
    if "official_splits" in parts.asked:
        facts.append(parts.stream_parts.official_splits_of(parts.stream_parts.planned))
    facts += ["logarithms"] if parts.needs_soft_labels else []  # float16 of these are stored since 2026-11-22
    if parts.cfg.stage.get("first_run") is not None and parts.first_rounds is not None:
        facts.append([asdict(student) for student in parts.first_rounds.students])
    return run_key(parts.cfg, facts, parts.allowed, parts.cache)
