"""Classifies images with the network of this folder. Needs torch; Pillow too, for more than 8-bit PNG files.

    python model.py photo.png [more ...]

prints the likeliest classes of each image; where an image may have several labels (THRESHOLDS), those it has. From
Python:

    import model
    network = model.load()
    logits = network(model.preprocess("photo.png"))

The weights are read from model.safetensors, the names of the classes from labels.json, and how an image is prepared
from preprocessing.json. All of them lie beside this file.
"""

import hashlib
import io
import json
import math
import os
import struct
import sys
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy")  # torch can use it; nothing here does
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent
MOST_CLASSES_SHOWN = 3
GREY_TOLERANCE = 3
"""Largest difference between the channels of a grey pixel, of 255: lossy formats round them apart."""
GREY_WEIGHTS = (0.299, 0.587, 0.114)
PADDING = 128
"""The grey of the strips beside an image that was padded (letterbox)."""


class StemConv(NamedTuple):
    """A 3×3 convolution before the stages."""

    width: int
    stride: int


class Stage(NamedTuple):
    """`depth` blocks, the first with `stride`: 1×1 to `mid` channels, 3×3 in `groups` groups, 1×1 to `out` channels."""

    depth: int
    mid: int
    groups: int
    out: int
    stride: int


# BEGIN: nas/exporters/standalone.py puts the numbers of a network in place of these.
# ruff: noqa: T201
CHANNELS, CLASSES = 3, 10
STEM = [
    StemConv(width=32, stride=1),
]
STAGES = [
    Stage(depth=1, mid=32, groups=4, out=64, stride=2),
]
SHORTCUTS = "mean"
THRESHOLDS: list[float] = []
# END


class Unusable(Exception):
    """A file cannot be used; the message is one line that names it."""


# The network: a stem, stages of grouped bottleneck blocks, the mean over all pixels, a linear classifier.


def cbr(cin: int, cout: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution, BatchNorm and, with `relu`, ReLU."""
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU() if relu else nn.Identity(),
    )


class Block(nn.Module):
    """relu(skip + expand(grouped(reduce(x)))); the skip is x itself, or its projection where shapes differ.

    With a stride, SHORTCUTS says whether the mean of stride × stride pixels is projected or one of them.
    """

    def __init__(self, cin: int, stage: Stage, stride: int) -> None:
        super().__init__()
        self.reduce = cbr(cin, stage.mid)
        self.grouped = cbr(stage.mid, stage.mid, kernel=3, stride=stride, groups=stage.groups)
        self.expand = cbr(stage.mid, stage.out, relu=False)
        same_shape = stride == 1 and cin == stage.out
        self.pool: nn.Module = nn.Identity()
        if SHORTCUTS == "mean" and stride > 1:
            self.pool, stride = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False), 1
        self.projection = nn.Identity() if same_shape else cbr(cin, stage.out, stride=stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, cin, H, W) → (N, out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return F.relu(self.projection(self.pool(x)) + self.expand(self.grouped(self.reduce(x))))


class Network(nn.Module):
    """Normalised images (N, CHANNELS, height, width) → logits (N, CLASSES)."""

    def __init__(self) -> None:
        super().__init__()
        cin = CHANNELS
        self.stem = nn.Sequential()
        for conv in STEM:
            self.stem.append(cbr(cin, conv.width, kernel=3, stride=conv.stride))
            cin = conv.width
        self.stages = nn.Sequential()
        for stage in STAGES:
            blocks = nn.Sequential()
            for number in range(stage.depth):
                blocks.append(Block(cin, stage, stage.stride if number == 0 else 1))
                cin = stage.out
            self.stages.append(blocks)
        self.classifier = nn.Linear(cin, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """A softmax over the logits gives probabilities; where there are THRESHOLDS, a sigmoid of each."""
        logits: Tensor = self.classifier(self.stages(self.stem(x)).mean(dim=(2, 3)))
        return logits


def load() -> Network:
    """The network with its trained weights, ready to classify, on the CPU."""
    path = FOLDER / "model.safetensors"
    network = Network()
    try:
        network.load_state_dict(read_safetensors(path))
    except RuntimeError:
        raise Unusable(f"{path}: its weights are not those of this network") from None
    return network.eval()


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file: the length of its header (8 bytes, little-endian), a JSON header, then their bytes."""
    content = bytearray(read_bytes(path))
    check_sum(path, content)
    start = 8 + int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        data = torch.frombuffer(content, dtype=torch.uint8)[start:]
        return {name: tensor_of(data, about) for name, about in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Unusable(f"{path}: is damaged, or not a safetensors file") from None


def check_sum(path: Path, content: bytearray) -> None:
    """Refuses a file that is not as it was exported, by the SHA-256 in verification.json, where that is there."""
    recorded = FOLDER / "verification.json"
    if not recorded.is_file():
        return
    try:
        expected = read_json(recorded.name)["sha256"][path.name]
    except (KeyError, TypeError):
        raise Unusable(f"{recorded}: has no SHA-256 of {path.name}") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise Unusable(f"{path}: is not as it was exported; it was damaged, or changed without {recorded.name}")


def tensor_of(data: Tensor, about: dict[str, Any]) -> Tensor:
    """One tensor, as the header describes it: its type, its shape and where its bytes are."""
    dtype = {"F32": torch.float32, "I64": torch.int64}[about["dtype"]]
    (begin, end), shape = about["data_offsets"], about["shape"]
    if not 0 <= begin < end <= len(data) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError("the bytes of a tensor are not there, or not as many as its shape says")
    return data[begin:end].clone().view(dtype).view(shape)


# Images: a file → (1, CHANNELS, height, width), prepared as the images were that the network was trained on.


def preprocess(path: str | Path) -> Tensor:
    """An image file as the network takes it: (1, CHANNELS, height, width), normalised."""
    path, settings = Path(path), read_json("preprocessing.json")
    try:
        height, width, mean, std = (settings[key] for key in ("height", "width", "mean", "std"))
        resize = settings.get("resize", "crop")
    except (KeyError, TypeError):
        raise Unusable(f"{FOLDER / 'preprocessing.json'}: lacks height, width, mean or std") from None
    if CHANNELS not in (1, 3):
        raise Unusable(f"{path}: the network takes {CHANNELS} channels, and image files have 1 or 3; give it a tensor")
    if path.is_dir():
        raise Unusable(f"{path}: is a folder; name the images in it")
    if not path.is_file():
        raise Unusable(f"{path}: no such file")
    try:
        import PIL  # noqa: F401
    except ImportError:
        pixels = fit(read_png(path), (width, height), resize)
    else:
        pixels = read_with_pillow(path, (width, height), resize)
    if CHANNELS == 1:
        if (pixels.amax(0) - pixels.amin(0)).max() > GREY_TOLERANCE:
            raise Unusable(f"{path}: is in colour, and the network takes grey images")
        pixels = torch.tensor(GREY_WEIGHTS).view(3, 1, 1).mul(pixels).sum(0, keepdim=True).round()
    return ((pixels / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])[None]


def read_with_pillow(path: Path, frame: tuple[int, int], resize: str) -> Tensor:
    """Any image file as (3, height, width): upright, on white, in the proportions of `frame`, and resized to it."""
    from PIL import Image, ImageOps

    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    try:
        with Image.open(path) as opened:
            opened.draft(None, (2 * max(frame), 2 * max(frame)))  # JPEG decoders shrink large photos for nothing
            image: Image.Image = ImageOps.exif_transpose(opened)
            if image.mode == "F":
                raise ValueError("no known range")
            if image.mode.startswith("I"):  # 16-bit greys
                image = image.convert("I").point(lambda value: value * (1 / 256))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB")
            if resize == "crop":
                fitted = ImageOps.fit(image, frame, method=Image.Resampling.BILINEAR)
            else:
                width, height = box(*image.size, frame, resize)
                fitted = Image.new("RGB", frame, (PADDING,) * 3)
                resized = image.resize((width, height), Image.Resampling.BILINEAR)
                fitted.paste(resized, ((frame[0] - width) // 2, (frame[1] - height) // 2))
    except Exception:  # on damaged files decoders raise more than their own errors
        raise Unusable(f"{path}: cannot be read as an image") from None
    pixels = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8)
    return pixels.view(frame[1], frame[0], 3).permute(2, 0, 1).float()


def box(width: int, height: int, frame: tuple[int, int], resize: str) -> tuple[int, int]:
    """The width and height that an image has within the frame's, unless it is cropped."""
    if resize == "stretch":
        return frame
    if width * frame[1] >= height * frame[0]:
        return frame[0], max(1, round(height / width * frame[0]))
    return max(1, round(width / height * frame[1])), frame[1]


def fit(image: Tensor, frame: tuple[int, int], resize: str) -> Tensor:
    """Pixels (height, width, 3) → (3, height, width) of the frame: cropped or padded, and resized as Pillow does it."""
    height, width, _ = image.shape
    seen_width, seen_height = float(width), float(height)
    if resize == "crop" and width * frame[1] >= height * frame[0]:
        seen_width = height * frame[0] / frame[1]
    elif resize == "crop":
        seen_height = width * frame[1] / frame[0]
    columns, rows = frame if resize == "crop" else box(width, height, frame, resize)
    planes = image.permute(2, 0, 1)
    planes = (planes @ resizing(width, seen_width, columns).T + 0.5).floor()  # whole numbers, and halves upwards
    whole = torch.full((3, frame[1], frame[0]), float(PADDING))
    left, top = (frame[0] - columns) // 2, (frame[1] - rows) // 2
    whole[:, top : top + rows, left : left + columns] = (resizing(height, seen_height, rows) @ planes + 0.5).floor()
    return whole


def resizing(length: int, side: float, size: int) -> Tensor:
    """(size, length): the share of each of `length` pixels in each of `size` pixels that cover the central `side`.

    A triangle, as bilinear interpolation has it; it reaches farther where an image is made smaller, so that every
    pixel counts.
    """
    scale = side / size
    centres = (length - side) / 2 + scale * (torch.arange(size) + 0.5)
    distances = (torch.arange(length) + 0.5 - centres[:, None]).abs() / max(scale, 1)
    shares = (1 - distances).clamp(min=0)
    return shares / shares.sum(dim=1, keepdim=True)


# PNG files without Pillow (https://www.w3.org/TR/png/): 8 bits a sample, not interlaced.

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples in a pixel by colour type: grey, RGB, palette, grey with alpha, RGBA."""


def read_png(path: Path) -> Tensor:
    """The pixels (height, width, 3) of a PNG file; what is transparent shows white."""
    content = read_bytes(path)
    needs_pillow = Unusable(f"{path}: install Pillow to read it; without Pillow only plain 8-bit PNG files are read")
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise needs_pillow
    try:
        chunks = png_chunks(content)
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        if depth != 8 or interlaced or b"eXIf" in chunks:  # the last may say that the image is to be turned
            raise needs_pillow
        samples = SAMPLES[colour]
        expected = height * (1 + width * samples)
        lines = zlib.decompressobj().decompress(chunks[b"IDAT"], expected)
        if not expected or len(lines) != expected:
            raise ValueError("too few bytes")
        pixels = torch.frombuffer(unfiltered(lines, width * samples, samples), dtype=torch.uint8)
        return on_white(pixels.view(height, width, samples), colour, chunks)
    except (ValueError, LookupError, OverflowError, RuntimeError, struct.error, zlib.error):
        raise Unusable(f"{path}: cannot be read as an image") from None


def png_chunks(content: bytes) -> dict[bytes, bytes]:
    """What the file holds by type: length, type, data and checksum of each, after a signature of 8 bytes."""
    chunks: dict[bytes, bytes] = {}
    at = 8
    while b"IEND" not in chunks:
        length, kind = struct.unpack_from(">I4s", content, at)
        data = content[at + 8 : at + 8 + length]
        if zlib.crc32(kind + data) != struct.unpack_from(">I", content, at + 8 + length)[0]:
            raise ValueError("a wrong checksum")
        chunks[kind] = chunks.get(kind, b"") + data
        at += 12 + length
    return chunks


def unfiltered(lines: bytes, length: int, samples: int) -> bytearray:
    """Every line begins with the number of its filter: what is added to each byte from the bytes before it."""
    pixels, above = bytearray(), bytearray(length)
    for start in range(0, len(lines), length + 1):
        predict, line = PREDICTORS[lines[start]], bytearray(lines[start + 1 : start + 1 + length])
        for at in range(length):
            left, corner = (line[at - samples], above[at - samples]) if at >= samples else (0, 0)
            line[at] = (line[at] + predict(left, above[at], corner)) & 255
        pixels += line
        above = line
    return pixels


def paeth(left: int, up: int, corner: int) -> int:
    """Whichever of the three is nearest to left + up - corner."""
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


PREDICTORS = (
    lambda left, up, corner: 0,
    lambda left, up, corner: left,
    lambda left, up, corner: up,
    lambda left, up, corner: (left + up) // 2,
    paeth,
)


def on_white(pixels: Tensor, colour: int, chunks: dict[bytes, bytes]) -> Tensor:
    """Samples (height, width, samples) of a colour type → colours (height, width, 3)."""
    transparent = chunks.get(b"tRNS", b"")  # alphas of a palette, or the one colour that is transparent
    alpha = torch.full((*pixels.shape[:2], 1), 255.0)
    if colour == 3:
        palette = torch.tensor(list(chunks[b"PLTE"].ljust(768, b"\0"))).view(256, 3)
        alphas = torch.tensor(list(transparent.ljust(256, b"\xff")))
        places = pixels[..., 0].long()
        pixels, alpha = palette[places], alphas[places][..., None]
    elif colour in (4, 6):
        pixels, alpha = pixels[..., :-1], pixels[..., -1:]
    elif transparent:
        alpha *= (pixels != torch.tensor(list(transparent[1::2]))).any(dim=2, keepdim=True)
    colours = pixels.expand(-1, -1, 3).float()
    return ((colours * alpha + 255 * (255 - alpha.float())) / 255).round()


# The command.


def read_bytes(path: Path) -> bytes:
    """The content of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unusable(f"{path}: cannot be read: {error.strerror}") from None


def read_json(name: str) -> Any:
    """The content of a JSON file of this folder."""
    try:
        return json.loads(read_bytes(FOLDER / name))
    except ValueError:
        raise Unusable(f"{FOLDER / name}: is not JSON") from None


def read_labels() -> list[str]:
    """The names of the classes, printable: none may move a terminal's cursor."""
    labels: list[str] = read_json("labels.json")
    if not isinstance(labels, list) or len(labels) != CLASSES:
        raise Unusable(f"{FOLDER / 'labels.json'}: is not a list of the {CLASSES} classes")
    return ["".join(sign if sign.isprintable() else "?" for sign in str(label)) for label in labels]


def answer(logits: Tensor, labels: list[str]) -> str:
    """The likeliest classes on one line, such as `cat 93.1 %, dog 5.0 %, cow 1.9 %`, or the labels that are given."""
    probabilities = (logits.sigmoid() if THRESHOLDS else logits.softmax(dim=0)).tolist()
    classes = sorted(range(CLASSES), key=lambda at: -probabilities[at])
    given = [at for at in classes if THRESHOLDS and probabilities[at] >= THRESHOLDS[at]]
    shown = given if THRESHOLDS else classes[:MOST_CLASSES_SHOWN]
    return ", ".join(f"{labels[at]} {100 * probabilities[at]:.1f} %" for at in shown) or "none of the labels"


def main() -> int:
    """Classifies the images that the command line names; gives the exit code."""
    paths = sys.argv[1:]
    if not paths or paths[0].startswith("-"):
        print("usage: python model.py IMAGE [IMAGE ...]\nprints the likeliest classes of each image", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that lack the letters of a class's name
    code = 0
    try:
        labels, network = read_labels(), load()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network.to(device)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    for path in paths:
        try:
            with torch.inference_mode():
                logits = network(preprocess(path).to(device))[0]
            print(f"{path}: {answer(logits, labels)}", flush=True)
        except Unusable as error:  # the other images may be fine
            print(error, file=sys.stderr)
            code = 2
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at the end goes there
        sys.exit(1)
