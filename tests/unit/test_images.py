"""Image recipes: what a tag covers, what a build is handed, what happens when it fails. No engine needed."""

from __future__ import annotations

import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import images
from harness.errors import InputError
from harness.image_recipes import environment_hash, recipes
from harness.images import ImageState, build, verify

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, content in {
        "Dockerfile": "harness",
        "docker/base.Dockerfile": "base",
        "docker/cam.Dockerfile": "cam",
        "docker/debian-snapshot.sh": "pin",
        "docker/debian.snapshot": "20261115T000000Z",
        "docker/vwe.Dockerfile": "vwe",
        "requirements/build.lock": "wheel",
        "requirements/runtime.lock": "torch",
        "harness/cli.py": "verb",
        "methods/cam/voc.py": "cam",
        "methods/vwe/voc.py": "vwe",
        "leaderboard/table.py": "table",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def tags(checkout: Path, base_image: str | None = None) -> dict[str, str]:
    return {
        name: recipes(name, base_image, root=checkout)[-1].tag for name in ("base", "harness", "cam", "vwe")
    }


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("requirements/runtime.lock", {"base", "harness", "cam", "vwe"}),
        ("docker/base.Dockerfile", {"base", "harness", "cam", "vwe"}),
        ("docker/debian.snapshot", {"base", "harness", "cam", "vwe"}),
        ("harness/cli.py", {"harness", "cam", "vwe"}),
        ("docker/vwe.Dockerfile", {"vwe"}),
    ],
)
def test_a_tag_covers_all_that_goes_in_and_no_more(checkout: Path, file: str, changed: set[str]) -> None:
    before = tags(checkout)
    (checkout / file).write_text("other")
    assert {name for name, tag in tags(checkout).items() if tag != before[name]} == changed


def test_a_tag_covers_the_image_below_all(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = tags(checkout)
    mirrored = tags(checkout, "mirror.example/debian:bookworm-slim")
    assert all(default[name] != mirrored[name] for name in default)
    monkeypatch.setenv("HARNESS_BASE_IMAGE", "mirror.example/debian:bookworm-slim")
    assert tags(checkout) == mirrored


def test_environment_hash_leaves_the_source_to_the_stage_keys(checkout: Path) -> None:
    before = environment_hash("vwe", root=checkout)
    (checkout / "harness" / "cli.py").write_text("other verb")
    assert environment_hash("vwe", root=checkout) == before
    (checkout / "requirements" / "runtime.lock").write_text("other torch")
    assert environment_hash("vwe", root=checkout) != before


def test_an_unknown_image_names_the_nearest(checkout: Path) -> None:
    with pytest.raises(InputError, match=r"no image for 'vwf' \(did you mean 'vwe'\?\)"):
        recipes("vwf", root=checkout)


def test_a_build_is_handed_the_hashed_files_and_the_certificates_only(checkout: Path) -> None:
    (checkout / "requirements" / "dev.lock").write_text("pytest")
    base = recipes("base", root=checkout)[0]
    with tarfile.open(fileobj=base.context(b"certificate")) as tar:
        assert sorted(tar.getnames()) == [
            "Dockerfile",
            "ca-bundle.crt",
            "docker/debian-snapshot.sh",
            "docker/debian.snapshot",
            "requirements/build.lock",
            "requirements/runtime.lock",
        ]
    assert base.context(None).read() == recipes("base", root=checkout)[0].context(None).read()


def test_sources_that_change_during_a_build_do_not_get_into_it(checkout: Path) -> None:
    harness = recipes("harness", root=checkout)[-1]
    tag, context = harness.tag, harness.context(None).read()
    (checkout / "harness" / "cli.py").write_text("edited meanwhile")
    assert (harness.tag, harness.context(None).read()) == (tag, context)


def test_a_dockerfile_copies_only_what_its_build_is_handed() -> None:
    for name in ("base", "cam", "irn", "vwe"):
        for recipe in recipes(name):
            handed = {str(path) for file in recipe.files for path in (Path(file), *Path(file).parents)}
            lines = recipe.files["Dockerfile"].decode().splitlines()
            copied = {
                source
                for line in lines
                if line.startswith("COPY ") and "--from" not in line
                for source in line.split()[1:-1]
                if "[" not in source
            }
            assert copied <= handed, recipe.name


class Engine:
    """As much of a Docker client as a build needs: its builds end with the given chunks."""

    def __init__(self, tags: list[str], chunks: list[dict[str, Any]]) -> None:
        self.tags = tags
        self.chunks = chunks
        self.builds: list[dict[str, Any]] = []
        self.images = self.api = self

    def list(self, name: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(tags=[tag]) for tag in self.tags if tag.startswith(f"{name}:")]

    def prune(self, filters: dict[str, Any]) -> None:
        assert filters["label"] == "wsss-harness.intermediate"

    def get(self, tag: str) -> SimpleNamespace:
        assert tag in self.tags
        return SimpleNamespace(id="sha256:1", attrs={"RepoDigests": [], "Size": 5, "Created": "today"})

    def build(self, **options: Any) -> list[dict[str, Any]]:
        self.builds.append(options)
        if not any("error" in chunk for chunk in self.chunks):
            self.tags.append(options["tag"])
        return self.chunks


def test_an_image_is_current_stale_or_missing() -> None:
    current = images.method_tag("vwe")
    states = [
        verify("vwe", client=Engine(there, []))  # type: ignore[arg-type]
        for there in ([current, "wsss-harness/vwe:0"], ["wsss-harness/vwe:0"], ["wsss-harness/cam:0"])
    ]
    assert states == [ImageState.CURRENT, ImageState.STALE, ImageState.MISSING]


def test_only_what_is_not_current_is_built_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    base, harness, vwe = recipes("vwe")
    engine = Engine([base.tag, "wsss-harness/vwe:0"], [{"stream": "Step 1/1 : FROM base\n"}])
    lines: list[str] = []
    info = build("vwe", progress=lines.append, log_folder=tmp_path, client=engine)  # type: ignore[arg-type]
    assert [options["tag"] for options in engine.builds] == [harness.tag, vwe.tag]
    assert engine.builds[0]["buildargs"]["BASE_IMAGE"] == base.tag
    assert engine.builds[0]["buildargs"]["https_proxy"] == "http://proxy.example:3128"
    assert "Step 1/1 : FROM base" in lines
    assert (info.tag, info.state, info.digest) == (vwe.tag, ImageState.CURRENT, None)


def test_a_failed_build_is_one_sentence_with_its_log(tmp_path: Path) -> None:
    engine = Engine(
        [], [{"stream": "Step 1/12\n"}, {"stream": "E: no space\n"}, {"error": "apt-get returned 100"}]
    )
    with pytest.raises(
        InputError, match=r"could not be built \(apt-get returned 100\): see .*\.log"
    ) as caught:
        build("vwe", log_folder=tmp_path, client=engine)  # type: ignore[arg-type]
    log = next(tmp_path.glob("*.log"))
    assert str(log) in str(caught.value)
    assert "E: no space" in log.read_text()


def test_certificates_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no CA bundle at"):
        build("vwe", ca_bundle=tmp_path / "gone.pem", client=Engine([], []))  # type: ignore[arg-type]
