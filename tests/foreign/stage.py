"""A stage by the contract alone (docs/stage-contract.md), with Python's standard library and nothing else.

What it predicts: pixels whose colour is far from that of the image's border are of the image's first class.
"""

import hashlib
import json
import re
import resource
import struct
import sys
import time
import zlib
from pathlib import Path


def read_png(path):
    """Rows of (r, g, b) of an 8-bit PNG without filters, as the generated dataset has them."""
    content = path.read_bytes()
    place, data = 8, b""
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        body = content[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            data += body
        place += 12 + length
    rows, stride = zlib.decompress(data), 3 * width + 1
    return [
        [tuple(rows[y * stride + 1 + 3 * x : y * stride + 4 + 3 * x]) for x in range(width)]
        for y in range(height)
    ]


def write_png(path, labels):
    """A gray 8-bit PNG, under its name only when it is whole."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", len(labels[0]), len(labels), 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(row) for row in labels)
    partial = path.with_name("." + path.name)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    partial.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    partial.rename(path)


def predict(pixels, label, distance):
    """Labels of an image."""
    border = pixels[0] + pixels[-1] + [row[0] for row in pixels] + [row[-1] for row in pixels]
    mean = [sum(pixel[channel] for pixel in border) / len(border) for channel in range(3)]
    return [
        [label if sum(abs(a - b) for a, b in zip(pixel, mean)) > distance else 0 for pixel in row]
        for row in pixels
    ]


def write_json(path, document):
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(document), encoding="utf-8")
    partial.rename(path)


def main(path):
    began = time.time()
    request = json.loads(path.read_text(encoding="utf-8"))
    folder, files = path.parent, path.parent / "files"
    if request["contract"] != 1:
        write_json(
            folder / "error.json", {"message": "this image knows contract 1 only: use an older harness"}
        )
        return 2
    root, settings = Path(request["dataset"]["root"]), request["config"]["settings"]
    ids = request["dataset"]["ids"][request["config"]["split"]]
    for done, image_id in enumerate(ids, start=1):
        target = files / (image_id + ".png")
        if not target.exists():
            annotation = (root / "Annotations" / (image_id + ".xml")).read_text(encoding="utf-8")
            name = re.findall(r"<name>(.*?)</name>", annotation)[0]
            pixels = read_png(root / "JPEGImages" / (image_id + ".png"))
            write_png(target, predict(pixels, 1 + settings["classes"].index(name), settings["distance"]))
        progress = {"done": done, "total": len(ids), "unit": "images", "start": 0, "started": began}
        write_json(folder / "progress.json", {**progress, "spent": time.time() - began, "note": ""})
    finish(request, folder, time.time() - began, len(ids))
    return 0


def finish(request, folder, seconds, images):
    """Report, then manifest: from then on the artifact is there."""
    known = {"contract": 1, "stage": request["stage"], "key": request["key"]}
    measurements = {
        "wall_seconds": seconds,
        "host_memory_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "host_memory_kind": "rss",
        "bytes_written": None,
        "bytes_written_source": None,
        "samples": 0,
        "sampling_cpu_seconds": 0.0,
    }
    report = {**known, "seconds": seconds, "images": images, "measurements": measurements}
    write_json(folder / "report.json", report)
    listed = {}
    for file in sorted((folder / "files").iterdir()):
        content = file.read_bytes()
        listed[file.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {**known, "kind": "masks", "meta": {"refiner": {"type": "BorderColour"}}, "files": listed}
    write_json(folder / "manifest.json", manifest)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[-1])))
