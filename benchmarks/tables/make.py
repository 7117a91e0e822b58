"""Trains every architecture of a small space at every schedule length, and writes a table: NAME.parquet.

    python -m benchmarks.tables.make cifar16-27 --data CIFAR10 --max-images 4000

Space and recipe are NAME.yaml beside this file; a new table is a new YAML file. Each training is made with `SEEDS`
seeds, and judged by the test images as well, which no search sees. (The tables of before `SEEDS` have one seed, a
second one for a quarter of the full trainings, and two of them test accuracies of full trainings alone.) How a table
was made stands in its metadata; `Table` reads it. Interrupted, the same command goes on. `--part 0/2` and `--part 1/2`
share the work between two processes; who comes last merges.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from nas import Architecture, ImageData, Recipe, SearchSpace, load_data, load_space
from nas.strategy.multi_fidelity import schedule_lengths
from nas.training.batches import DeviceData
from nas.training.train import evaluate, on_device, train

FOLDER = Path(__file__).parent
FIDELITIES, ETA = 3, 3
SEEDS = 3


def trainings(space: SearchSpace) -> Iterator[tuple[Architecture, int, int]]:
    """(architecture, epochs, seed): all that a table holds, in an order in which any beginning is a fair sample."""
    architectures = [space.architecture(point) for point in space.points()]
    order = np.random.default_rng(0).permutation(len(architectures)).tolist()
    for seed in range(SEEDS):
        for index in order:
            for epochs in schedule_lengths(space.recipe.epochs, FIDELITIES, ETA):
                yield architectures[index], epochs, seed


def measured(architecture: Architecture, recipe: Recipe, seed: int, data: DeviceData, test: DeviceData) -> dict:  # type: ignore[type-arg]
    """One row. `seconds` are of the processor on a CPU, where workers share cores, and of the clock on a GPU."""
    clock = time.perf_counter if data.device.type == "cuda" else time.process_time
    start = clock()
    result = train(architecture, data, recipe, seed=seed)
    seconds = clock() - start
    return {
        "key": architecture.key,
        "epochs": recipe.epochs,
        "seed": seed,
        "accuracy": result.accuracy,
        "curve": list(result.curve),
        "log_loss": float(-np.log(np.maximum(result.predictions["label_confidence"], 1e-7)).mean()),
        "test_accuracy": evaluate(architecture, result.weights, test, recipe=recipe),
        "seconds": seconds,
    }


def make(name: str, data: str, max_images: int | None, *, part: int, parts: int, device: str) -> None:
    """Trains what is missing of one part; then merges if all parts are whole."""
    space = load_space(FOLDER / f"{name}.yaml")
    images = load_data(data, space.input, max_images=max_images)
    on = on_device(images, space.recipe, device)
    test = replace(on, validation=on_device(replace(images, validation=images.test), space.recipe, device).validation)
    rows_file = FOLDER / f"{name}.{part}-of-{parts}.jsonl"
    done = {(row["key"], row["epochs"], row["seed"]) for row in _rows(rows_file)}
    wanted = list(trainings(space))
    numbers = {key: number for number, key in enumerate(dict.fromkeys(training[0].key for training in wanted))}
    mine = [training for training in wanted if numbers[training[0].key] % parts == part]
    todo = [t for t in mine if (t[0].key, t[1], t[2]) not in done]
    start = time.monotonic()
    with rows_file.open("a") as file:
        for number, (architecture, epochs, seed) in enumerate(todo, start=1):
            row = measured(architecture, replace(space.recipe, epochs=epochs), seed, on, test)
            file.write(json.dumps(row) + "\n")
            file.flush()
            left = (time.monotonic() - start) / number * (len(todo) - number)
            print(
                f"{number}/{len(todo)}  {architecture.name}  {epochs}  {row['accuracy']:.4f}  {left:.0f} s left",
                flush=True,
            )
    asked = {(architecture.key, epochs, seed) for architecture, epochs, seed in wanted}
    rows = [row for other in range(parts) for row in _rows(FOLDER / f"{name}.{other}-of-{parts}.jsonl")]
    rows = [row for row in rows if (row["key"], row["epochs"], row["seed"]) in asked]
    if len(rows) == len(wanted):
        write(name, space, images, rows, device=str(on.device))


def write(name: str, space: SearchSpace, images: ImageData, rows: list[dict], *, device: str) -> None:  # type: ignore[type-arg]
    """The parquet file, its rows in the order of the space's points, then epochs and seed."""
    points = {space.architecture(point).key: point for point in space.points()}
    place = {key: number for number, key in enumerate(points)}
    rows = sorted(rows, key=lambda row: (place[row["key"]], row["epochs"], row["seed"]))
    table = pa.Table.from_pylist(
        [{**points[row["key"]], **{k: v for k, v in row.items() if k != "key"}} for row in rows]
    )
    table = table.cast(pa.schema([_narrow(field) for field in table.schema]))
    about = {
        "space": space.with_changes(classes=len(images.classes)).to_dict(),
        "data": {**images.describe(), "source": Path(images.source).name, "test_images": len(images.test.labels)},
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), "
        + (torch.cuda.get_device_name() if device != "cpu" else "no GPU"),
        "versions": {package: version(package) for package in ("nas", "torch", "lightning")},
    }
    table = table.replace_schema_metadata({"nas": json.dumps(about)})
    pq.write_table(table, FOLDER / f"{name}.parquet", compression="zstd")


def _narrow(field: pa.Field) -> pa.Field:
    narrow = {pa.float64(): pa.float32(), pa.int64(): pa.int32(), pa.list_(pa.float64()): pa.list_(pa.float32())}
    return field.with_type(narrow.get(field.type, field.type))


def _rows(file: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of a YAML file beside this script")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--max-images", type=int)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    make(options.name, options.data, options.max_images, part=part, parts=parts, device=options.device)


if __name__ == "__main__":
    main()
