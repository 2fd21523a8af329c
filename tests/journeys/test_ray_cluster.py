"""A sweep on a Ray cluster of several nodes, each with processes of its own: Ray's own cluster utility starts them."""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from extras import need
from sweep_command import Workplace

STUDENT = """
import pathlib

import ray
from torch import nn

class Noting(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Conv2d(3, num_classes, 1)
        with pathlib.Path(__file__).with_name("nodes.txt").open("a") as file:
            file.write(ray.get_runtime_context().get_node_id() + "\\n")

    def forward(self, images):
        return self.layer(images)
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes with one core each."""
    need("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of Ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
        found = Cluster(initialize_head=True, head_node_args=node)
        try:
            found.add_node(num_cpus=1, object_store_memory=100 * 2**20)
            yield found
        finally:
            found.shutdown()


@pytest.fixture
def sweep(tmp_path: Path) -> tuple[Workplace, list[str]]:
    """A workplace with a student that notes its node, and the words of a sweep with it."""
    workplace = Workplace(tmp_path)
    (tmp_path / "noting.py").write_text(STUDENT)
    (tmp_path / "conf" / "student").mkdir()
    (tmp_path / "conf" / "student" / "noting.yaml").write_text(
        "_target_: noting.Noting\nname: noting\nweights: null\nmean: null\nstd: null\n"
    )
    return workplace, ["student=noting", "allow_targets=[counting,noting]", "tracking=none", "hydra/launcher=ray"]


def nodes(workplace: Workplace) -> Counter[str]:
    """Return how many students were made on each node."""
    path = workplace.folder / "nodes.txt"
    return Counter(path.read_text().split() if path.is_file() else [])


@pytest.mark.long
@pytest.mark.timeout(900)
def test_jobs_run_on_all_nodes_and_those_of_a_lost_node_are_finished_by_the_same_command(
    cluster: Any, sweep: tuple[Workplace, list[str]]
) -> None:
    workplace, words = sweep
    words = [*words, f"hydra.launcher.address={cluster.address}", "seed=range(5)"]
    process = workplace.start(*words)
    workplace.wait_until(lambda: len(nodes(workplace)) == 2, process)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    code = process.wait()
    statuses = workplace.statuses()
    # The lost node's job has failed; it had finished if the node was removed between two jobs.
    assert statuses["failed"] == (1 if code else 0)
    assert statuses["finished"] == 5 - statuses["failed"]
    cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    workplace.run(*words)
    assert set(workplace.statuses()) <= {"skipped", "resumed", "finished"}
    assert len({job["run"] for job in workplace.sweep()["jobs"]}) == 5
    assert set(workplace.labelled().values()) == {1}  # each frame was labelled once, whatever the node
