"""Small archives in the layout of the official ones of VOC 2012 and SBD, and a registry that names them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from harness.data.palette import voc_palette

SIZE = (6, 8)  # of all images, (H, W)
_VOC = "VOCdevkit/VOC2012"
_SBD = "benchmark_RELEASE/dataset"


@dataclass(frozen=True)
class Lists:
    """Ids of VOC's and of SBD's splits."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    sbd_train: tuple[str, ...]
    sbd_val: tuple[str, ...]

    @property
    def images(self) -> list[str]:
        """All but those of test."""
        return sorted({*self.train, *self.val, *self.sbd_train, *self.sbd_val})


def small_lists(number: int = 12) -> Lists:
    """SBD's lists overlap with VOC's train and val, as the official ones do."""
    ids = [f"2007_{i:06d}" for i in range(number)]
    third = number // 3
    return Lists(
        tuple(ids[:third]),
        tuple(ids[third : 2 * third]),
        ("2008_000006", "2008_000011"),
        tuple(ids[third - 1 : 2 * third - 1] + ids[2 * third : -1]),
        tuple(ids[-1:]),
    )


@dataclass(frozen=True)
class Archives:
    """The archives and the registry with their checksums."""

    trainval: Path
    test: Path
    sbd: Path
    registry: Path

    @property
    def all(self) -> list[Path]:
        return [self.trainval, self.test, self.sbd]


def make_archives(folder: Path, lists: Lists) -> Archives:
    """Make the three archives and the registry in `folder`."""
    trainval = write_tar(folder / "VOCtrainval_11-May-2012.tar", _trainval(lists))
    test = write_tar(folder / "VOC2012test.tar", _test(lists))
    sbd = write_tar(folder / "benchmark.tgz", _sbd(lists))
    return Archives(trainval, test, sbd, write_registry(folder / "registry.yaml", trainval, test, sbd))


def write_registry(path: Path, trainval: Path, test: Path, sbd: Path, sbd_url: str | None = None) -> Path:
    """Write a registry with the checksums of these files; nobody answers at its addresses but `sbd_url`."""
    marks = {
        "voc-trainval": (trainval, "VOC2012/ImageSets/Segmentation/trainval.txt"),
        "voc-test": (test, "VOC2012/ImageSets/Segmentation/test.txt"),
        "sbd": (sbd, "benchmark_RELEASE/dataset"),
    }
    entries = {}
    for name, (file, mark) in marks.items():
        entry = {"dataset": "voc", "file": file.name, "mark": mark, "origin": "a test"}
        if name == "voc-test":
            entry["obtain"] = "ask the server"
        else:
            content = file.read_bytes()
            entry |= {
                "url": (name == "sbd" and sbd_url) or f"http://127.0.0.1:9/{file.name}",
                "md5": hashlib.md5(content).hexdigest(),
                "bytes": len(content),
            }
        entries[name] = entry
    path.write_text(yaml.safe_dump(entries))
    return path


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """Write a tar, compressed if its name ends in gz."""
    compression = {"compresslevel": 1} if path.suffix == ".tgz" else {}
    with tarfile.open(path, "w:gz" if compression else "w", **compression) as tar:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def voc_mask(image_id: str) -> NDArray[np.uint8]:
    """VOC's own mask of an image: a class with a border of 255."""
    mask = np.zeros(SIZE, np.uint8)
    mask[2:5, 2:6], mask[2, 2:6] = 1 + int(image_id[-2:]) % 20, 255
    return mask


def sbd_mask(image_id: str) -> NDArray[np.uint8]:
    """SBD's mask of the same image: no border, another shape."""
    mask = np.zeros(SIZE, np.uint8)
    mask[1:5, 1:7] = 1 + int(image_id[-2:]) % 20
    return mask


def _trainval(lists: Lists) -> Iterable[tuple[str, bytes]]:
    photo = _photo()
    for image_id in lists.images:
        yield (
            f"{_VOC}/Annotations/{image_id}.xml",
            b"<annotation><object><name>cat</name></object></annotation>",
        )
    yield f"{_VOC}/ImageSets/Main/train.txt", b"not needed"
    yield f"{_VOC}/ImageSets/Segmentation/train.txt", _list(lists.train)
    yield f"{_VOC}/ImageSets/Segmentation/trainval.txt", _list(sorted(lists.train + lists.val))
    yield f"{_VOC}/ImageSets/Segmentation/val.txt", _list(lists.val)
    for image_id in lists.images:
        yield f"{_VOC}/JPEGImages/{image_id}.jpg", photo
    for image_id in sorted(lists.train + lists.val):
        yield f"{_VOC}/SegmentationClass/{image_id}.png", _png(voc_mask(image_id))
        yield f"{_VOC}/SegmentationObject/{image_id}.png", b"not needed"


def _test(lists: Lists) -> Iterable[tuple[str, bytes]]:
    for image_id in ("2008_000001", *lists.test):  # the first belongs to another task
        yield f"{_VOC}/JPEGImages/{image_id}.jpg", _photo()
    yield f"{_VOC}/ImageSets/Segmentation/test.txt", _list(lists.test)


def _sbd(lists: Lists) -> Iterable[tuple[str, bytes]]:
    yield f"{_SBD}/img/any.jpg", b"not needed"
    for image_id in (*lists.sbd_train, *lists.sbd_val):
        yield f"{_SBD}/cls/{image_id}.mat", mat_file(sbd_mask(image_id))
    yield f"{_SBD}/train.txt", _list(lists.sbd_train)
    yield f"{_SBD}/val.txt", _list(lists.sbd_val)


def mat_file(mask: NDArray[np.uint8]) -> bytes:
    """A MATLAB file as SBD has them."""
    buffer = io.BytesIO()
    savemat(
        buffer, {"GTcls": {"Segmentation": mask, "CategoriesPresent": np.unique(mask)}}, do_compression=True
    )
    return buffer.getvalue()


def _list(ids: Iterable[str]) -> bytes:
    return "".join(f"{image_id}\n" for image_id in ids).encode()


def _photo() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", SIZE[::-1], (90, 120, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def _png(mask: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(mask)
    image.putpalette(voc_palette().tobytes())
    image.save(buffer, "PNG")
    return buffer.getvalue()
