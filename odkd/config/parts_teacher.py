"""The teacher of a run: its network, its label stores, and the map from its classes to the dataset's."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.progress import Progress
from odkd.config import unseen
from odkd.config.build_teacher import build_teacher
from odkd.config.features import wanted_kinds
from odkd.config.identity import has_known_identity, teacher_identity
from odkd.config.members import with_members
from odkd.config.teacher_classes import TeacherClasses
from odkd.data.labels.own_classes import OwnClasses, is_folder
from odkd.teachers import class_names

if TYPE_CHECKING:
    import numpy as np
    import torch

    from odkd.data.labels import LabelSource
    from odkd.data.labels.features import FeatureKind
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
        classes: of the dataset.
        identity: returns that of the labels (`identity.teacher_identity`), which may depend on the stream.
        device: where the teacher runs.
        allowed: packages whose classes YAML may name.
        is_mapped: false = labels are only stored (an import, a repair); their classes may be unknown.
        features: of its layers, to be stored too; None = those that the config compares.
    """

    cfg: DictConfig
    classes: list[str]
    identity: Callable[[], Mapping[str, Any]]
    device: torch.device
    allowed: list[str]
    is_mapped: bool = True
    features: Sequence[FeatureKind] | None = None

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher, usually a network.

        Raises:
            ValueError: a mistake in its settings, weights or classes.
        """
        known = self.mapping.said
        offered: dict[str, Any] = {"classes": self.classes}
        if known is not None:
            self.mapping.table(OwnClasses())  # before weights are downloaded
            offered["num_classes"] = len(known)
        teacher = self._construct(offered)
        self.mapping.table(OwnClasses(class_names(teacher), teacher.num_classes))
        return teacher

    def live(self) -> tuple[Teacher, np.ndarray | None]:
        """Return the teacher, and the dataset's id of each of its ids, uint8 [256]; None = they are the same."""
        teacher = self.teacher
        table = self.mapping.table(OwnClasses(class_names(teacher), teacher.num_classes))
        return teacher, None if table is None or table.is_identity else table.ids

    def unmapped(self) -> Teacher:
        """Return the teacher with its own classes, whether or not the dataset has them.

        Raises:
            ValueError: a mistake in its settings or weights.
        """
        return self._construct({"classes": self.classes, "num_classes": len(self.classes)})

    def _construct(self, offered: Mapping[str, Any]) -> Teacher:
        places = {"device": self.device, "weights_folder": Path(self.cfg.paths.weights)}
        return build_teacher(self.cfg.teacher, self.cfg.dataset, {**places, **offered}, self.allowed)

    @property
    def is_new(self) -> bool:
        """True if nothing that this teacher has labelled is stored: it will be built in any case, before the stream."""
        from odkd.data.labels.store import LabelStore
        from odkd.data.labels.store_files import find_stores

        node, paths = self.cfg.teacher, self.cfg.paths
        stores = find_stores(Path(paths.labels) / node.name)
        if not stores or not has_known_identity(node, self.allowed):
            return True
        identity = json.loads(json.dumps(teacher_identity(self.cfg, self.allowed, Path(paths.cache), None)))
        return all(LabelStore(store).manifest["identity"]["teacher"] != identity for store in stores)

    @property
    def kinds(self) -> Sequence[FeatureKind]:
        """The features to store."""
        return wanted_kinds(self.cfg) if self.features is None else self.features

    def channels(self, labels: TeacherLabels) -> dict[str, int]:
        """Return the channels of each layer whose features are wanted, as stored; the teacher is asked if none are.

        Raises:
            ValueError: a mistake in the teacher's settings, or it has no such layer.
        """
        from odkd.teachers.features import frame_size, shapes_of

        first = next(video for video in labels.videos if len(video.frame_numbers))
        store = labels.find(first)
        known = {} if store is None else store.features.kinds
        if any(kind not in known for kind in self.kinds):
            known = shapes_of(self.teacher, self.cfg.teacher.name, self.kinds, frame_size(first))
        return {kind.layer: known[kind][0] for kind in self.kinds}

    def introduce(self) -> None:
        """Log the source and the licence of the weights, of a teacher made of teachers those of each."""
        for place, node in with_members(self.cfg.teacher):
            if node.source or node.licence:
                name = node.name if place == "teacher" else place.removeprefix("teacher.members.")
                logger.info("teacher %s: %s. Licence: %s", name, node.source or "unknown source", node.licence)

    def stores(self, sampled: Stream, stream: Stream) -> TeacherLabels:
        """Return the label stores of a stream, filled or not."""
        from odkd.data.labels.teacher_labels import TeacherLabels, TeacherName

        node = self.cfg.teacher
        size = (int(node.size[0]), int(node.size[1])) if node.size else None
        facts = {"licence": node.licence, "source": node.source, "recipe": self._recipe()}
        name = TeacherName(node.name, self.identity(), size, facts)
        soft = self.soft(size or (sampled.videos[0].height, sampled.videos[0].width))
        return TeacherLabels(sampled, stream, name, Path(self.cfg.paths.labels), soft, self.kinds)

    def fill(self, labels: TeacherLabels, groundtruth: LabelSource | None, *, only: Path | None = None) -> None:
        """Label what is missing; processes that do the same share the work."""
        from odkd.teachers.labeller import Labeller, Span

        if only is None and not labels.missing():  # for a single store, the labeller checks this itself
            self.__dict__.pop("teacher", None)  # another process may have labelled the rest since it was built
            return
        teacher = self.teacher
        needs_groundtruth = getattr(teacher, "needs_groundtruth", not teacher.needs_images)
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))  # set by torchrun
        with Progress("labelled", "frames") as progress:
            labeller = Labeller(
                labels,
                teacher,
                batch_size=self.cfg.teacher.batch_size,
                groundtruth=groundtruth if needs_groundtruth else None,
                progress=progress,
                span=Span(rank, size) if size > 1 else None,
                device=str(self.device),
                only=only,
            )
            labeller.run()
        self.__dict__.pop("teacher", None)  # frees its memory for the student

    def mapped(self, labels: TeacherLabels) -> LabelSource:
        """Return filled labels with the dataset's ids; warn about classes of the teacher that have none."""
        own = self._own(labels)
        self.__dict__.pop("teacher", None)
        unseen.warn_of_labels(self.cfg, labels, self.mapping.said or own.names)
        return self.mapping.mapped(labels, own)

    def check(self, labels: TeacherLabels) -> None:
        """Check the teacher before a frame is decoded; build it only if labels are missing.

        Raises:
            ValueError: the teacher cannot be built, its classes do not fit the dataset's, or it gives no probabilities
                although they are to be stored.
        """
        is_complete = not labels.missing()
        if not is_complete:
            self.check_teacher()
            if self.kinds:
                from odkd.teachers.features import tell_sizes

                tell_sizes(labels, self.teacher)
        own = self._own(labels)
        self.mapping.table(own)
        self.mapping.warn(own)
        if is_complete:
            self.mapping.check_ids(labels, own)

    @property
    def mapping(self) -> TeacherClasses:
        """The map from the teacher's classes to the dataset's."""
        return TeacherClasses(self.cfg, self.classes if self.is_mapped else None)

    def _own(self, labels: TeacherLabels) -> OwnClasses:
        """Return what the weights say of their classes: as stored, else as they say it now.

        Raises:
            ValueError: the teacher must be asked and cannot be built; or imported maps have only the names that an
                earlier version of odkd took from the command that imported them.
        """
        node = self.cfg.teacher
        if "teacher" not in self.__dict__ and (known := labels.own_classes) is not None:
            return known
        if not is_folder(node):
            return OwnClasses(class_names(self.teacher), self.teacher.num_classes)
        old = labels.names_of_commands
        if node.get("folder") is None and node.label_set is None and old not in (None, self.classes):
            raise ValueError(
                f"the maps of teacher.digest={node.get('digest')} were imported with names that odkd no longer keeps; "
                f"add teacher.label_set=[{','.join(old or ())}] if they are right"
            )
        return OwnClasses()

    def check_teacher(self) -> None:
        """Build the teacher, and check that it gives probabilities if they are to be stored.

        Raises:
            ValueError: a mistake in its settings, weights or classes, or it gives none.
        """
        from odkd.teachers.labeller import check_soft

        check_soft(self.teacher, self.cfg.teacher.name, self.soft((1, 1)))

    def soft(self, size: tuple[int, int]) -> SoftSpec | None:
        """Return which soft labels to store, at `size` unless the config has another; None = none."""
        from odkd.data.labels.store import SoftSpec

        node = self.cfg.teacher.soft
        if not node.top_k:
            return None
        return SoftSpec(int(node.top_k), size if node.size is None else (int(node.size[0]), int(node.size[1])))

    def _recipe(self) -> dict[str, Any]:
        """Return what `odkd-labels repair` needs to compute damaged labels again from the same videos and weights."""
        recipe: dict[str, Any] = {"folder": str(Path.cwd())}
        for group in ("dataset", "teacher"):
            recipe[group] = OmegaConf.to_container(self.cfg[group], resolve=True)
        return recipe
