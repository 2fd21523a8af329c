"""The classes of a teacher: what the command says of them, else what its weights say, mapped to the dataset's."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from odkd.common.ignore import IGNORE
from odkd.common.names import counted
from odkd.data.labels import highest_class
from odkd.data.labels.class_names import plain
from odkd.data.labels.mapped_labels import MappedLabels, unmapped_warning
from odkd.data.labels.mapping import ClassTable, class_table
from odkd.data.labels.own_classes import OwnClasses, refuse_one_output
from odkd.data.labels.sets import label_set

if TYPE_CHECKING:
    from odkd.data.labels import LabelSource
    from odkd.data.labels.teacher_labels import TeacherLabels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TeacherClasses:
    """The map from a teacher's classes to the dataset's.

    Args:
        cfg: the complete config.
        dataset: the dataset's classes; None = labels are only stored, not mapped.
    """

    cfg: DictConfig
    dataset: list[str] | None

    @property
    def said(self) -> list[str] | None:
        """The names that the command gives, `teacher.label_set`; None without."""
        chosen = self.cfg.teacher.label_set
        if chosen is None:
            return None
        return list(label_set(chosen).classes) if isinstance(chosen, str) else [str(name) for name in chosen]

    def table(self, own: OwnClasses) -> ClassTable | None:
        """Return the map from the teacher's classes to the dataset's; None if only their number is known.

        Raises:
            ValueError: the classes cannot be mapped.
        """
        node, classes = self.cfg.teacher, self.said or own.names
        number = own.number or node.get("num_classes")
        refuse_one_output(own.number, f"teacher {node.name}")
        if classes is not None and number not in (None, len(classes)):
            raise ValueError(
                f"teacher {node.name} has {counted(number, 'class')} and teacher.label_set={node.label_set} has "
                f"{len(classes)}; name the set that its weights were trained on"
            )
        if self.dataset is None:
            return None
        if classes is None:
            if node.classes is not None:
                raise ValueError(
                    f"teacher {node.name} does not say its classes, which teacher.classes maps: "
                    "name them with teacher.label_set"
                )
            if number not in (None, len(self.dataset)):
                raise ValueError(
                    f"teacher {node.name} has {counted(number, 'class')}, dataset {self.cfg.dataset.name} has "
                    f"{len(self.dataset)}; say which they are with teacher.label_set, or choose another teacher"
                )
            return None
        mapping: Any = OmegaConf.to_container(node.classes) if OmegaConf.is_config(node.classes) else node.classes
        return class_table(classes, self.dataset, mapping, allow_missing=node.allow_missing)

    def warn(self, own: OwnClasses) -> None:
        """Warn if `teacher.label_set` and the weights give a class two ids: one of them is wrong."""
        ids = {plain(name): i for i, name in enumerate(own.names or ())}
        for i, name in enumerate(self.said or ()):
            if (other := ids.get(plain(name), i)) != i:
                logger.warning(
                    "teacher.label_set=%s gives %s the id %d, and the weights of teacher %s give it %d (%s); "
                    "the command's names count: leave teacher.label_set out if they are wrong",
                    *(self.cfg.teacher.label_set, name, i, self.cfg.teacher.name, other, ", ".join(own.names or ())),
                )
                return

    def check_ids(self, labels: TeacherLabels, own: OwnClasses) -> None:
        """Check complete labels of which only the ids are known, such as those of a folder, against the classes.

        Raises:
            ValueError: an id is too high.
        """
        said, node = self.said, self.cfg.teacher
        classes = said if said is not None else own.names or self.dataset
        if own.number is not None or classes is None:
            return
        found = np.flatnonzero(labels.histogram(Path(self.cfg.paths.cache))[:IGNORE])
        if not len(found) or found[-1] < len(classes):
            return
        stream = labels.stream
        first = next(p for p in range(len(stream)) if highest_class(labels.read(p)) >= len(classes))
        video, frame = stream.videos[int(stream.video_of[first])], int(stream.frame_of[first])
        whose = f"dataset {self.cfg.dataset.name}" if said is None else f"teacher.label_set={node.label_set}"
        raise ValueError(
            f"the stored labels of teacher {node.name} have ids up to {found[-1]}, and {whose} has {len(classes)} "
            "classes; say which classes they are with teacher.label_set, or change dataset.classes "
            f"(the first is in {video.path.name}, frame {frame})"
        )

    def mapped(self, labels: TeacherLabels, own: OwnClasses) -> LabelSource:
        """Return complete labels with the dataset's ids; warn about classes of the teacher that have none."""
        table = self.table(own)
        self.check_ids(labels, own)
        if table is None or table.is_identity:
            return labels
        if table.sources(IGNORE):
            warning = unmapped_warning(labels.histogram(Path(self.cfg.paths.cache)), table)
            if warning is not None:
                logger.warning("teacher %s: %s", self.cfg.teacher.name, warning)
        return MappedLabels(labels, table)
