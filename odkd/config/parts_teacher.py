"""The teacher of a run: its network, its label stores, and the map from its classes to the dataset's."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import NOT_OF_THE_TEACHER
from odkd.common.ignore import IGNORE
from odkd.common.names import counted
from odkd.common.progress import Progress
from odkd.config import unseen
from odkd.config.construct import construct, resolve
from odkd.config.identity import has_known_identity, teacher_identity
from odkd.config.interfaces import check_part
from odkd.data.labels.mapped_labels import MappedLabels, unmapped_warning
from odkd.data.labels.mapping import ClassTable, class_table
from odkd.data.labels.sets import label_set
from odkd.teachers import class_names

if TYPE_CHECKING:
    import torch

    from odkd.data.labels import LabelSource
    from odkd.data.labels.store import SoftSpec
    from odkd.data.labels.teacher_labels import TeacherLabels
    from odkd.data.video.stream import Stream
    from odkd.teachers import Teacher

logger = logging.getLogger(__name__)


@dataclass
class TeacherParts:
    """Builds the teacher, only if labels are missing, and finds or fills its label stores.

    Args:
        cfg: the complete config.
        classes: of the dataset; None = unknown: labels are stored, not mapped (an import).
        identity: returns that of the labels (`identity.teacher_identity`), which may depend on the stream.
        device: where the teacher runs.
        allowed: packages whose classes YAML may name.
    """

    cfg: DictConfig
    classes: list[str] | None
    identity: Callable[[], Mapping[str, Any]]
    device: torch.device
    allowed: list[str]

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher, usually a network.

        Raises:
            ValueError: a mistake in its settings, weights or classes.
        """
        node = self.cfg.teacher
        weights_folder = Path(self.cfg.paths.weights)
        known = self._configured_classes()
        classes = known if self.classes is None else self.classes
        offered: dict[str, Any] = {"classes": classes, "device": self.device, "weights_folder": weights_folder}
        if known is not None:
            self.table(known, None)  # before weights are downloaded
            offered["num_classes"] = len(known)
        leave_out = tuple(key for key in NOT_OF_THE_TEACHER if key in node)
        teacher: Teacher = construct(node, leave_out, offered, self.allowed)
        check_part(teacher, "teacher", node._target_)
        self.table(self._own_classes(teacher), teacher.num_classes)
        return teacher

    @property
    def is_new(self) -> bool:
        """True if nothing that this teacher has labelled is stored: it will be built in any case, before the stream."""
        from odkd.data.labels.store import LabelStore, find_stores

        node, paths = self.cfg.teacher, self.cfg.paths
        stores = find_stores(Path(paths.labels) / node.name)
        if not stores or not has_known_identity(resolve(node._target_, self.allowed)):
            return True
        identity = json.loads(json.dumps(teacher_identity(self.cfg, self.allowed, Path(paths.cache), None)))
        return all(LabelStore(store).manifest["identity"]["teacher"] != identity for store in stores)

    def introduce(self) -> None:
        """Log the source and the licence of the weights."""
        node = self.cfg.teacher
        if node.source or node.licence:
            logger.info("teacher %s: %s. Licence: %s", node.name, node.source or "unknown source", node.licence)

    def stores(self, sampled: Stream, stream: Stream) -> TeacherLabels:
        """Return the label stores of a stream, filled or not."""
        from odkd.data.labels.teacher_labels import TeacherLabels, TeacherName

        node = self.cfg.teacher
        size = (int(node.size[0]), int(node.size[1])) if node.size else None
        facts = {"licence": node.licence, "source": node.source, "recipe": self._recipe()}
        name = TeacherName(node.name, self.identity(), size, facts)
        soft = self.soft(size or (sampled.videos[0].height, sampled.videos[0].width))
        return TeacherLabels(sampled, stream, name, Path(self.cfg.paths.labels), soft)

    def fill(self, labels: TeacherLabels, groundtruth: LabelSource | None, *, only: Path | None = None) -> None:
        """Label what is missing; processes that do the same share the work."""
        from odkd.teachers.labeller import Labeller, Span

        if only is None and not labels.missing():  # for a single store, the labeller checks this itself
            self.__dict__.pop("teacher", None)  # another process may have labelled the rest since it was built
            return
        teacher = self.teacher
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))  # set by torchrun
        labeller = Labeller(
            labels,
            teacher,
            batch_size=self.cfg.teacher.batch_size,
            groundtruth=None if teacher.needs_images else groundtruth,
            progress=Progress("labelled", "frames"),
            classes=self._own_classes(teacher),
            span=Span(rank, size) if size > 1 else None,
            device=str(self.device),
            only=only,
        )
        labeller.run()
        self.__dict__.pop("teacher", None)  # frees its memory for the student

    def mapped(self, labels: TeacherLabels) -> LabelSource:
        """Return filled labels with the dataset's ids; warn about classes of the teacher that have none."""
        classes = self._configured_classes() or labels.classes
        table = self.table(classes, labels.num_classes)
        unseen.warn_of_labels(self.cfg, labels, classes)
        if table is None or table.is_identity:
            return labels
        if table.sources(IGNORE):
            warning = unmapped_warning(labels.histogram(Path(self.cfg.paths.cache)), table)
            if warning is not None:
                logger.warning("teacher %s: %s", self.cfg.teacher.name, warning)
        return MappedLabels(labels, table)

    def table(self, classes: list[str] | None, num_classes: int | None) -> ClassTable | None:
        """Return the map from the teacher's classes to the dataset's; None if only their number is known.

        Raises:
            ValueError: the classes cannot be mapped.
        """
        node = self.cfg.teacher
        if classes is not None and num_classes not in (None, len(classes)):
            raise ValueError(
                f"teacher {node.name} has {counted(num_classes or 0, 'class')} and "
                f"teacher.label_set={node.label_set} has "
                f"{len(classes)}; name the set that its weights were trained on"
            )
        if self.classes is None:
            return None
        if classes is None:
            if node.classes is not None:
                raise ValueError(
                    f"teacher {node.name} does not say its classes, which teacher.classes maps: "
                    "name them with teacher.label_set"
                )
            if num_classes not in (None, len(self.classes)):
                raise ValueError(
                    f"teacher {node.name} has {counted(num_classes or 0, 'class')}, dataset "
                    f"{self.cfg.dataset.name} has "
                    f"{len(self.classes)}; say which they are with teacher.label_set, or choose another teacher"
                )
            return None
        mapping: Any = OmegaConf.to_container(node.classes) if OmegaConf.is_config(node.classes) else node.classes
        return class_table(classes, self.classes, mapping, allow_missing=node.allow_missing)

    def check(self, labels: TeacherLabels) -> None:
        """Check the teacher before a frame is decoded; build it only if labels are missing.

        Raises:
            ValueError: the teacher cannot be built, its classes do not fit the dataset's, or it gives no probabilities
                although they are to be stored.
        """
        if (classes := self._configured_classes()) is not None:
            self.table(classes, labels.num_classes)
            if (stored := labels.classes) not in (None, classes):
                logger.warning(
                    "the stored labels of teacher %s have other class names than teacher.label_set=%s: %s",
                    self.cfg.teacher.name,
                    self.cfg.teacher.label_set,
                    ", ".join(map(str, stored)),
                )
        if labels.missing():
            self.check_teacher()
        elif classes is None and (known := labels.classes) is not None:
            self.table(known, None)
        elif classes is None and labels.num_classes is None:
            self._check_ids(labels)

    def _check_ids(self, labels: TeacherLabels) -> None:
        """Check stored labels of which only the ids are known, such as imported ones, against the dataset's classes."""
        found = np.flatnonzero(labels.histogram(Path(self.cfg.paths.cache))[:IGNORE])
        if self.classes is not None and len(found) and found[-1] >= len(self.classes):
            raise ValueError(
                f"the stored labels of teacher {self.cfg.teacher.name} have ids up to {found[-1]}, and dataset "
                f"{self.cfg.dataset.name} has {len(self.classes)} classes; say which classes they are with "
                "teacher.label_set, or change dataset.classes"
            )

    def check_teacher(self) -> None:
        """Build the teacher, and check that it gives probabilities if they are to be stored.

        Raises:
            ValueError: a mistake in its settings, weights or classes, or it gives none.
        """
        from odkd.teachers.labeller import check_soft

        check_soft(self.teacher, self.cfg.teacher.name, self.soft((1, 1)))

    def _configured_classes(self) -> list[str] | None:
        chosen = self.cfg.teacher.label_set
        if chosen is None:
            return None
        return list(label_set(chosen).classes) if isinstance(chosen, str) else [str(name) for name in chosen]

    def _own_classes(self, teacher: Teacher) -> list[str] | None:
        return self._configured_classes() or class_names(teacher)

    def soft(self, size: tuple[int, int]) -> SoftSpec | None:
        """Return which soft labels to store, at `size` unless the config has another; None = none."""
        from odkd.data.labels.store import SoftSpec

        node = self.cfg.teacher.soft
        if not node.top_k:
            return None
        return SoftSpec(int(node.top_k), size if node.size is None else (int(node.size[0]), int(node.size[1])))

    def _recipe(self) -> dict[str, Any]:
        """Return what `odkd-labels repair` needs to compute damaged labels again from the same videos and weights."""
        recipe: dict[str, Any] = {"folder": str(Path.cwd()), "allow_targets": self.allowed}
        for group in ("dataset", "teacher"):
            recipe[group] = OmegaConf.to_container(self.cfg[group], resolve=True)
        return recipe
