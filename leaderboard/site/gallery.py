"""Pictures of a run: what its evaluations left in `examples/`, one row per image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image
from pydantic import ValidationError

from harness.record import RunRecord, StageRecord
from harness.stages.examples import ERROR_COLOURS, FOLDER, Example, ExampleIndex
from harness.stages.examples import Picture as PictureName

_NAME = re.compile(r"[A-Za-z0-9_-]+\.(png|jpg)")
_LARGEST = 2 << 20  # bytes; pictures of an evaluation have a hundredth of that
_SUFFIX = {"PNG": ".png", "JPEG": ".jpg"}

ERRORS = tuple(
    zip(
        ("right background", "right object", "missed", "false alarm", "wrong class", "not counted"),
        ERROR_COLOURS,
        strict=True,
    )
)


@dataclass(frozen=True)
class Picture:
    """A picture of the site.

    Attributes:
        path: from the site's folder.
        caption: what is to be seen.
        labels: whether it shows labels, so that it must not be smoothed.
    """

    path: str
    caption: str
    width: int
    height: int
    labels: bool = False


@dataclass
class Row:
    """One image with all that was predicted for it."""

    id: str
    classes: list[str]
    image: Picture | None = None
    truth: Picture | None = None
    pictures: list[Picture] = field(default_factory=list)
    scores: list[tuple[str, float | None]] = field(default_factory=list)


class Gallery:
    """Collects pictures into the site; the same picture of several runs is stored once.

    Args:
        work: work folder that artifacts are relative to.
        site: the site's folder.
        warn: told of examples that cannot be read.
    """

    def __init__(self, work: Path, site: Path, warn: Callable[[str], None]) -> None:
        self._work, self._site, self._warn = work, site, warn
        self._indexes: dict[Path, ExampleIndex | None] = {}

    def rows(self, record: RunRecord) -> dict[str, list[Row]]:
        """Rows of a run by split; empty where its artifacts are gone or have no examples."""
        found: dict[str, dict[str, Row]] = {}
        for stage in record.stages:
            folder = self._folder(stage)
            index = self._index(folder) if folder else None
            if folder is None or index is None or stage.report is None or not stage.report.metrics:
                continue
            number = stage.report.metrics[0].number
            label = "seg+CRF" if number == "seg_crf" else number
            at = f" at {index.threshold:g}" if index.threshold is not None else ""
            for example in index.examples:
                rows = found.setdefault(index.split, {})
                row = rows.setdefault(example.id, Row(example.id, example.classes))
                self._add(row, folder, example, label + at)
        return {split: list(rows.values()) for split, rows in found.items()}

    def _add(self, row: Row, folder: Path, example: Example, label: str) -> None:
        captions: dict[PictureName, str] = {
            "image": "image",
            "truth": "ground truth",
            "cam": "CAM",
            "prediction": label,
            "errors": f"errors of {label}",
        }
        for name, caption in captions.items():
            file = example.pictures.get(name)
            picture = self._take(folder, file, caption, labels=name not in ("image", "cam")) if file else None
            if picture is None:
                continue
            if name == "image":
                row.image = row.image or picture
            elif name == "truth":
                row.truth = row.truth or picture
            else:
                row.pictures.append(picture)
        row.scores.append((label, example.mean_iou))

    def _folder(self, stage: StageRecord) -> Path | None:
        """`examples/` of a stage's artifact, unless the record or a link leads out of the work folder."""
        place = PurePosixPath(stage.artifact)
        if stage.type != "evaluate" or place.is_absolute() or ".." in place.parts:
            return None
        folder = self._work / place / "files" / FOLDER
        # What a foreign stage left may be a link to anywhere.
        return folder if folder.resolve().is_relative_to((self._work / place).resolve()) else None

    def _index(self, folder: Path) -> ExampleIndex | None:
        path = folder / "index.json"
        if path not in self._indexes:
            self._indexes[path] = self._read_index(path)
        return self._indexes[path]

    def _read_index(self, path: Path) -> ExampleIndex | None:
        if path.is_symlink() or not path.is_file():
            return None
        try:
            return ExampleIndex.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            self._warn(f"the examples {path} cannot be read and are left out: {reason}")
            return None

    def _take(self, folder: Path, name: str, caption: str, *, labels: bool) -> Picture | None:
        """Copy a picture into the site if it is one."""
        path = folder / name
        if not _NAME.fullmatch(name) or path.is_symlink() or not path.is_file():
            return None
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError(f"it has more than {_LARGEST} bytes")
            content = path.read_bytes()
            with Image.open(BytesIO(content), formats=list(_SUFFIX)) as image:
                width, height, suffix = image.width, image.height, _SUFFIX[str(image.format)]
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            self._warn(f"the picture {path} cannot be read and is left out: {error}")
            return None
        place = f"pictures/{hashlib.sha256(content).hexdigest()[:20]}{suffix}"
        target = self._site / place
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        return Picture(place, caption, width, height, labels)
