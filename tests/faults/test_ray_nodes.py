"""A Ray cluster of several nodes, all on this machine, that come and go during a search."""

import subprocess
import sys
from pathlib import Path

import pytest

from nas import Study
from nas.study.records import TrialRecord

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

CLUSTER = """
import subprocess, sys, time
from ray.cluster_utils import Cluster
import nas
from nas.workflows.steering import stop

node = {"num_cpus": 1, "object_store_memory": 80 * 1024**2}
cluster = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 0})

def search(*options, source=("digits",)):
    command = [sys.executable, "-m", "nas", "search", *source, "--runs", sys.argv[1], "--study", "s"]
    return subprocess.Popen([*command, "--ray", cluster.address, "--device", "cpu", "--no-references", *options])

def running():
    try:
        return sum(record.state == "running" for record in nas.Study.open("s", sys.argv[1]).records())
    except nas.NasError:
        return 0

def wait_for(number):
    while searching.poll() is None and running() != number:
        time.sleep(0.05)
"""
"""Starts a head without room for a worker."""


def run(folder: Path, program: str) -> tuple["subprocess.CompletedProcess[str]", list[TrialRecord]]:
    """Runs a program after `CLUSTER`, in a process of its own as Ray takes over its signals."""
    file = folder / "program.py"
    file.write_text(CLUSTER + program)
    ran = subprocess.run([sys.executable, file, folder], capture_output=True, text=True, timeout=400, check=False)
    return ran, Study.open("s", folder).records()


def test_a_node_that_goes_is_replaced_by_one_that_comes(tmp_path: Path) -> None:
    ran, records = run(
        tmp_path,
        """
nodes = [cluster.add_node(**node) for _ in range(2)]
searching = search("--workers", "2", "--trials", "1000", "--epochs", "15", "--fidelities", "1")
wait_for(2)
cluster.remove_node(nodes[0], allow_graceful=False)
cluster.add_node(**node)
study = nas.Study.open("s", sys.argv[1])
while searching.poll() is None and len({record.worker for record in study.records()} - {None}) < 3:
    time.sleep(0.2)  # until the new node's worker trains, which is as soon as the machine lets it
stop(study)
sys.exit(searching.wait())
""",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    interrupted = [record for record in records if record.reason == "interrupted"]
    others = [record for record in records if record.reason != "interrupted"]
    assert {record.state for record in others if record.state != "waiting"} == {"complete"}
    assert len({record.worker for record in records} - {None}) == 3
    assert {record.architecture.key for record in interrupted} <= {record.architecture.key for record in others}


def test_two_workers_share_a_gpu_of_the_cluster(tmp_path: Path) -> None:
    ran, records = run(
        tmp_path,
        """
cluster.add_node(**{**node, "num_cpus": 4, "num_gpus": 1})
sys.exit(search("--gpus-per-worker", "0.5", "--trials", "4", "--epochs", "2", "--fidelities", "1").wait())
""",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len({record.worker for record in records}) == 2


@pytest.mark.long
def test_images_larger_than_the_object_store_reach_the_nodes(tmp_path: Path) -> None:
    ran, records = run(
        tmp_path,
        """
import numpy
rng = numpy.random.default_rng(0)
labels = numpy.arange(32_000) % 2
images = rng.integers(0, 128, (len(labels), 64, 64), dtype=numpy.uint8) + 64 * labels.astype(numpy.uint8)[:, None, None]
numpy.savez(sys.argv[1] + "/large.npz", images=images, labels=labels)  # 131 MB
for _ in range(2):
    cluster.add_node(**node)
large = ["--data", sys.argv[1] + "/large.npz", "--max-flops", "300k", "--max-images", "32000"]
sys.exit(search("--workers", "2", "--trials", "2", "--epochs", "1", "--fidelities", "1", source=large).wait())
""",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [record.state for record in records if record.finished] == ["complete"] * 2
