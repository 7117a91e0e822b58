"""Measures on a GPU, part by part, in as many seconds as are given; docs/gpu.md says what comes before and after.

    python -m benchmarks.gpu --data gpu-kit --out results --seconds 470
    python -m benchmarks.gpu --report benchmarks/results/gpu

Each part is a process of its own, and writes OUT/PART.json after every row. Run again it goes on with what is missing.
"""

import argparse
import contextlib
import json
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

from benchmarks.gpu.kit import Kit
from benchmarks.gpu.parts import PARTS, part

WHOLE_RUN = 470.0
LEAST_SECONDS = 5.0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that benchmarks.gpu_prepare has made")
    parser.add_argument("--out", type=Path, help="where the results are written")
    parser.add_argument("--seconds", type=float, default=WHOLE_RUN)
    parser.add_argument("--only", choices=PARTS, nargs="+", help="some parts, with all the time")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a trial of the program itself")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="print what the results in a folder say")
    options = parser.parse_args()
    if options.report:
        report(options.report)
    elif options.data is None or options.out is None:
        parser.error("--data and --out are needed, or --report")
    else:
        run(options.data, options.out, device=options.device, seconds=options.seconds, only=options.only)
        report(options.out)


def run(data: Path, out: Path, *, device: str, seconds: float, only: list[str] | None) -> None:
    """One part after the other, each for its share of the time; what one leaves of its share is for the later ones."""
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    Kit(data)
    about = _about(device)  # once for all parts, which are forked
    names = only or list(PARTS)
    for name in names:
        kept = _read(out / f"{name}.json")
        if kept and {field: kept[field] for field in about} != about:
            raise SystemExit(f"{out / name}.json is of {kept['device']}, {kept['versions']}: name another --out")
    shares = {name: part(name).SECONDS for name in names}
    while names:
        name = names.pop(0)
        left = seconds - (time.monotonic() - began)
        share = left * shares[name] / sum(shares[each] for each in (name, *names))
        if left < LEAST_SECONDS and device == "cuda":
            print(f"{name}: no time is left", flush=True)
            continue
        _run_part(name, data, out, device=device, seconds=max(share, LEAST_SECONDS))


def _run_part(name: str, data: Path, out: Path, *, device: str, seconds: float) -> None:
    """In a process group that is ended with all in it when the time is over; a trial on a CPU may take longer.

    It is forked, as importing torch and Lightning takes up to 15 s on a rented machine. This process never uses CUDA.
    """
    start = time.monotonic()
    options = {"device": device, "seconds": seconds}
    process = get_context("fork").Process(target=_alone, args=(name, data, out), kwargs=options)
    process.start()
    process.join(seconds if device == "cuda" else None)
    code = process.exitcode
    with contextlib.suppress(ProcessLookupError):  # all have ended
        os.killpg(cast("int", process.pid), signal.SIGKILL)
    process.join()
    rows = len(_read(out / f"{name}.json").get("rows", []))
    ended = "" if code == 0 else " (its time was over)" if code is None else f" (exit code {code})"
    print(f"{name}: {rows} rows after {time.monotonic() - start:.0f} s{ended}", flush=True)


def _alone(name: str, data: Path, out: Path, *, device: str, seconds: float) -> None:
    os.setsid()
    measure(name, Kit(data), out, device=device, seconds=seconds)


def measure(name: str, kit: Kit, out: Path, *, device: str, seconds: float) -> None:
    """Runs a part in this process, and keeps each row at once."""
    file = out / f"{name}.json"
    rows: list[dict[str, Any]] = _read(file).get("rows", [])
    about = {"part": name, **_about(device)}
    done = {str(row["key"]) for row in rows}
    for row in part(name).measure(kit, device=device, done=done, seconds=seconds):
        rows = [other for other in rows if other["key"] != row["key"]] + [row]
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps({**about, "rows": rows}, indent=1), encoding="utf-8")
        partial.replace(file)


def report(folder: Path) -> None:
    """The results in a folder as Markdown."""
    for name in PARTS:
        found = _read(folder / f"{name}.json")
        if not found:
            continue
        versions = ", ".join(f"{each} {number}" for each, number in found["versions"].items())
        print(f"\n### {(part(name).__doc__ or name).strip().splitlines()[0]}\n\n{found['device']}, {versions}\n")
        for line in part(name).report(found["rows"]):
            print(line)


@cache
def _about(device: str) -> dict[str, Any]:
    """What rows must have in common: the device and the versions."""
    versions = {each: version(each) for each in ("torch", "lightning")}
    return {"device": _name(device), "versions": versions}


def _name(device: str) -> str:
    """The name of the device, by a process of its own: after CUDA has been used no process is forked."""
    if device == "cpu":
        return "CPU"
    import torch

    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        return process.submit(torch.cuda.get_device_name, 0).result()


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


if __name__ == "__main__":
    main()
