"""The published numbers: what is in the file, and that nonsense in it is refused with one sentence."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.config import METHODS, list_configs, list_methods
from harness.errors import InputError
from leaderboard.published import PUBLISHED, Published, read_published

METHOD_IDS = {"cam", "irn", "vwe", "seam", "eps", "hsc", "ppc", "rtc", "toco", "mcc", "weaktr", "semples"}


@pytest.fixture(scope="module")
def published() -> Published:
    return read_published()


def value(published: Published, name: str, dataset: str, number: str, split: str) -> float:
    (found,) = (
        entry.value
        for result in published.results
        if (result.name, result.dataset) == (name, dataset)
        for entry in result.numbers
        if (entry.number, entry.split) == (number, split)
    )
    return found


@pytest.mark.parametrize(
    ("name", "dataset", "number", "split", "expected"),
    [
        ("CAM", "voc", "seed", "train", 48.3),
        ("IRNet", "voc", "pseudo", "train", 66.5),
        ("VWE", "voc", "seg_crf", "val", 67.2),
        ("VWL-L, EMANet, ImageNet weights", "voc", "test", "test", 71.1),
        ("SEAM", "voc", "seed", "train", 55.41),
        ("EPS", "coco", "seed", "train", 37.15),
        ("PPC on EPS", "voc", "seg_crf", "val", 72.6),
        ("HSC on EPS", "voc", "test", "test", 74.5),
        ("RTC, single stage", "voc", "seg_crf", "val", 67.2),
        ("MCC", "coco", "seg_crf", "val", 42.3),
        ("ToCo, ViT-B", "voc", "test", "test", 72.2),
        ("WeakTr, EVA-02-S", "coco", "seg_crf", "val", 51.1),
        ("SemPLeS", "voc", "seg", "val", 83.4),
    ],
)
def test_numbers_are_those_of_the_papers(
    published: Published, name: str, dataset: str, number: str, split: str, expected: float
) -> None:
    assert value(published, name, dataset, number, split) == expected


def test_every_method_has_a_published_number(published: Published) -> None:
    assert {result.method for result in published.results} >= METHOD_IDS


def test_per_class_values_have_the_mean_that_is_published(published: Published) -> None:
    checked = [
        (sum(number.per_class) / len(number.per_class), number.value)
        for result in published.results
        for number in result.numbers
        if number.per_class
    ]
    assert len(checked) == 5
    for mean, stated in checked:
        assert mean == pytest.approx(stated, abs=0.06)


def test_no_column_of_a_method_has_two_numbers_to_compare_with(published: Published) -> None:
    comparable = [
        (result.method, result.variant, result.dataset, number.number, number.split, number.chosen)
        for result in published.results
        for number in result.numbers
        # On the evaluation server nothing of ours is compared.
        if number.comparable and number.number != "test"
    ]
    assert len(comparable) == len(set(comparable))


def test_methods_and_variants_name_configs_where_the_method_is_there(published: Published) -> None:
    for result in published.results:
        if result.method in list_methods() and result.variant is not None and result.dataset == "voc":
            assert f"{result.dataset}_{result.variant}" in list_configs(result.method), (
                METHODS / result.method
            )


def edited(path: Path, change: Any) -> Path:
    document = copy.deepcopy(yaml.safe_load(PUBLISHED.read_text(encoding="utf-8")))
    change(document)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def first(document: dict[str, Any]) -> dict[str, Any]:
    return document["results"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: first(d).update(method="ccam"), "'CAM': there is no method 'ccam' (did you mean 'cam'?)"),
        (lambda d: first(d).update(paper="irm"), "'CAM': there is no paper 'irm' (did you mean 'irn'?)"),
        (
            lambda d: first(d)["numbers"][0].update(split="trian"),
            "results.0 (CAM on voc): voc has no split 'trian' (did you mean 'train'?)",
        ),
        (lambda d: first(d)["numbers"][0].update(number="seeds"), "numbers.0.number: Input should be 'seed'"),
        (
            lambda d: first(d)["numbers"][0].update(value=0.483e3),
            "numbers.0.value: Input should be less than",
        ),
        (lambda d: first(d)["numbers"][0].update(number="test"), "number 'test' cannot be on split 'train'"),
        (lambda d: first(d)["numbers"][0].update(per_class=[1.0]), "per_class has 1 values, voc has 21"),
        (lambda d: first(d).update(colour="blue"), "results.0 (CAM on voc).colour: Extra inputs"),
        (lambda d: first(d).update(dataset="vco"), "dataset: Input should be 'voc' or 'coco'"),
        (lambda d: d.pop("papers"), "papers: Field required"),
    ],
)
def test_nonsense_is_refused_with_its_place(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        read_published(edited(tmp_path / "published.yaml", change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read the published numbers"), ("a: [", "is no YAML"), ("[]", "valid")],
)
def test_what_is_no_such_file_is_one_sentence(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "published.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as refused:
        read_published(path)
    assert "\n" not in str(refused.value)
