"""Pseudo masks from a run's CAMs and object masks of SAM: `python -m methods.semples.seed_objects`.

    python -m methods.semples.seed_objects --scores work/artifacts/KEY --objects SAM --out SEEDS --power 0.7
    harness results import SEEDS --layout masks --dataset voc --out IMPORTED
    harness run --method semples --dataset voc --data-root DIR --use pseudo=IMPORTED

Objects lie in one `<image id>.npz` per image, with `masks` (S, H, W) bool and `levels` (S,) integers: 0 part
of a part, 1 part, 2 whole. They are those that are left after SAM's filters (spec `semples`, section 9.1).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from harness.artifact import Artifact
from harness.data.palette import voc_palette, write_mask
from harness.errors import InputError
from harness.npz import read_npz
from methods.semples.fma import ObjectMasks, mask_seed

MAX_BYTES = 1 << 30  # of an image's objects: a thousand of 1024 x 1024


def read_objects(path: Path) -> ObjectMasks:
    """Objects of an image.

    Raises:
        InputError: the file is missing, broken, or not of this form.
    """
    try:
        arrays = read_npz(path, ("masks", "levels"), max_bytes=MAX_BYTES)
    except OSError as error:
        raise InputError(
            f"cannot read the objects {path} ({error.strerror}): complete the folder with a file per image"
        ) from error
    except ValueError as error:
        raise InputError(f"{error}: make its masks (S, H, W) and levels (S,) anew") from error
    masks, levels = arrays["masks"], arrays["levels"]
    if masks.ndim != 3 or masks.dtype != np.bool_ or levels.shape != masks.shape[:1]:
        raise InputError(
            f"{path} holds masks {masks.shape} {masks.dtype} and levels {levels.shape}, not (S, H, W) bool "
            "and (S,): make it anew"
        )
    return ObjectMasks(masks, levels)


def write_seeds(scores: Path, objects: Path, out: Path, power: float) -> int:
    """Write `<id>.png` for every image with CAMs; returns how many.

    Args:
        scores: artifact folder of CAMs.
        objects: folder of object masks.
        out: folder to fill.
        power: of the background; FMA-WSSS has 0.7 on VOC and 1.0 on COCO.

    Raises:
        InputError: the artifact is not whole or holds no CAMs, or objects are missing or of another size.
    """
    artifact = Artifact(scores)
    if not artifact.complete:
        raise InputError(
            f"{scores} is no artifact (it has no manifest.json): name the one of stage 'cam_scores'"
        )
    if artifact.manifest.meta.get("scores") != "cam":
        raise InputError(f"{scores} holds no CAMs: name the artifact of stage 'cam_scores'")
    palette = voc_palette()
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(artifact.files.glob("*.npz"))
    for file in files:
        cams = read_npz(file, ("keys", "high_res"))
        found = read_objects(objects / file.name)
        if len(found.masks) and found.masks.shape[1:] != cams["high_res"].shape[1:]:
            raise InputError(
                f"the objects {objects / file.name} are of size {found.masks.shape[1:]}, their image of "
                f"{cams['high_res'].shape[1:]}: make them of the image itself"
            )
        if not len(found.masks):  # an image without objects is background, at its own size
            found = ObjectMasks(np.zeros((0, *cams["high_res"].shape[1:]), dtype=bool), found.levels)
        write_mask(out / f"{file.stem}.png", mask_seed(cams["high_res"], cams["keys"], found, power), palette)
    return len(files)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and write the seeds; 2 where the input is wrong."""
    parser = argparse.ArgumentParser(prog="python -m methods.semples.seed_objects", description=__doc__)
    parser.add_argument("--scores", required=True, type=Path, help="artifact folder of stage cam_scores")
    parser.add_argument("--objects", required=True, type=Path, help="folder of object masks, ID.npz")
    parser.add_argument("--out", required=True, type=Path, help="folder for the labels, ID.png")
    parser.add_argument("--power", default=0.7, type=float, help="of the background (VOC 0.7, COCO 1.0)")
    options = parser.parse_args(arguments)
    try:
        count = write_seeds(options.scores, options.objects, options.out, options.power)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{count} masks in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
