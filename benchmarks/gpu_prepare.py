"""Makes the folder that travels to a machine with a GPU, for `benchmarks.gpu` (docs/gpu.md).

    python -m benchmarks.gpu_prepare --data CIFAR10 --out gpu-kit --python 3.12

CIFAR10 is a folder of CIFAR-10's parquet files, as on the Hugging Face hub. Minutes on two CPU cores, most of them for
the accuracies that networks reach on a CPU; interrupted, the same command goes on. The wheels are those that a machine
with torch, lightning, numpy, scikit-learn, psutil, pyarrow and Pillow, but no network, still needs.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.gpu.kit import SEEDS, TRAINING_IMAGES, Kit, compared, compared_images, networks, pack
from nas.training.train import on_device, train

ROOT = Path(__file__).parents[1]
CARRIED = ("optuna", "alembic", "sqlalchemy", "colorlog", "mako", "filelock", "click", "rich")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def images(data: Path, out: Path) -> None:
    """Packs the training images, then the test images."""
    if (out / "images.xz").is_file():
        return
    encoded: list[bytes] = []
    labels: list[int] = []
    for split in ("train", "test"):
        for file in sorted(data.glob(f"**/{split}*.parquet")):
            table = pq.read_table(file)
            image, label = (next(name for name in table.column_names if key in name) for key in ("im", "label"))
            encoded += [row["bytes"] for row in table.column(image).to_pylist()]
            labels += table.column(label).to_pylist()
        if split == "train" and len(labels) != TRAINING_IMAGES:
            raise SystemExit(f"--data={data}: holds {len(labels)} training images; CIFAR-10 has {TRAINING_IMAGES:,}")
    pack(encoded, labels, out)


def wheels(out: Path, python: str) -> None:
    """Downloads what is missing there, in the versions of constraints.txt, and builds the wheel of nas."""
    folder = out / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pinned = [line for line in lines if line.partition("==")[0].lower() in CARRIED]
    if not list(folder.glob("optuna-*.whl")):
        platforms = [f"--platform={name}" for name in PLATFORMS]
        target = ["--only-binary=:all:", f"--python-version={python}", "--implementation=cp", *platforms]
        subprocess.run([*pip, "download", "--no-deps", "--dest", str(folder), *target, *pinned], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)


def references(kit: Kit) -> None:
    """Trains on the CPU what the GPU is compared with; each accuracy is kept at once."""
    file = kit.folder / "cpu.json"
    rows = [{**known._asdict(), "architecture": known.architecture.to_dict()} for known in kit.references()]
    done = {(known.data, known.architecture.key, known.seed) for known in kit.references()}
    for data, space in compared().items():
        on = on_device(compared_images(kit, data), space.recipe, "cpu")
        for architecture in networks(space):
            for seed in SEEDS:
                if (data, architecture.key, seed) in done:
                    continue
                accuracy = train(architecture, on, space.recipe, seed=seed).accuracy
                rows.append({"data": data, "architecture": architecture.to_dict(), "seed": seed, "accuracy": accuracy})
                file.write_text(json.dumps(rows), encoding="utf-8")
                print(f"{data}  {architecture.name}  seed {seed}  {accuracy:.4f}", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10's parquet files")
    parser.add_argument("--out", type=Path, default=Path("gpu-kit"))
    parser.add_argument("--python", default="3.12", help="the version on the machine with the GPU")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    images(options.data, options.out)
    wheels(options.out, options.python)
    references(Kit(options.out))
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{options.out}: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
