"""The leaderboard as Markdown, CSV, LaTeX and JSON, and the command that writes them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.record import RunRecord
from leaderboard.aggregate import make_board
from leaderboard.board import Board
from leaderboard.flat import render_csv
from leaderboard.latex import escape, render_latex
from leaderboard.markdown import render_markdown
from tests.command import Command
from tests.record_samples import metric, record, stage

HOUR = 3600.0


def run(method: str, seg: float, seed: int = 0, **changes: Any) -> RunRecord:
    stages = [
        stage("seeds", metric("seed", seg - 0.1, "best of sweep", 0.13), seconds=HOUR),
        stage("seg_eval", metric("seg", seg), seconds=HOUR / 2),
    ]
    return record(*stages, **{"method": method, "run_id": f"{method}-{seed}", "seed": seed} | changes)


@pytest.fixture
def board() -> Board:
    records = [
        run("vwe", 0.66, 0),
        run("vwe", 0.68, 1),
        run("best", 0.70),
        run("short", 0.99, limit=4, overrides=["a_b=1"]),
    ]
    return make_board(records).only("voc")


def test_markdown_has_numbers_costs_and_what_is_not_ranked(board: Board) -> None:
    assert (
        render_markdown(board)
        == """\
## voc

mIoU in percent, mean ± standard deviation over seeds; in brackets the paper's.

| # | method | network | seeds | seed (best) | seg | seg+CRF | test | notes |
|---:|---|---|---:|---:|---:|---:|---:|---|
| 1 | best | - | 1 | **60.0** @0.13 | **70.0** | - | - | - |
| 2 | vwe | - | 2 | 57.0 ± 1.4 @0.13 | 67.0 ± 1.4 (66.3, +0.7) | - (67.2) | - (67.3) | - |

| method | time | GPU time | train images/s | infer images/s | GPU memory | host memory | GPU energy | on |
|---|---:|---:|---:|---:|---:|---:|---:|---|
| best | 1.5 h | - | - | - | - | 1.0 GiB | - | CPU (2 CPUs) |
| vwe | 1.5 h | - | - | - | - | 1.0 GiB | - | CPU (2 CPUs) |

### Not ranked on voc

Not full runs: shortened, overridden, on other data or from random weights.

| method | network | seeds | seed (best) | seg | why |
|---|---|---:|---:|---:|---|
| short | - | 1 | 89.0 @0.13 | 99.0 | limit 4, --set a_b=1 |
"""
    )


def test_markdown_of_nothing_says_so() -> None:
    assert render_markdown(make_board([])) == "There are no finished runs yet.\n"


def test_markdown_lists_all_published_results_on_demand() -> None:
    text = render_markdown(make_board([]), published=True)
    assert "| VWE | IJCAI 2021 | DeepLab v2, ResNet-101 |" in text
    assert "83.4?" in text  # quoted, still to be checked


def test_markdown_keeps_its_cells_whatever_a_name_holds() -> None:
    lines = render_markdown(make_board([run("a|b", 0.6)])).splitlines()
    row = next(line for line in lines if "a\\|b" in line)
    assert row.replace("\\|", "").count("|") == lines[lines.index(row) - 1].count("|")


def test_latex_has_booktabs_rules_and_bolds_the_best_full_run_of_each_column(board: Board) -> None:
    assert render_latex(board).splitlines()[6:] == [
        r"\begin{tabular}{@{}lrrrrrrr@{}}",
        r"\toprule",
        r"Method & $n$ & seed (best) & \multicolumn{2}{c}{seg} & seg+CRF & test & Time, h \\",
        r"\cmidrule(lr){4-5}",
        r" &  &  & ours & paper & paper & paper &  \\",
        r"\midrule",
        r"best & 1 & \textbf{60.0} & \textbf{70.0} & -- & -- & -- & 1.5 \\",
        r"vwe & 2 & 57.0 $\pm$ 1.4 & 67.0 $\pm$ 1.4 & 66.3 & 67.2 & 67.3 & 1.5 \\",
        r"\midrule",
        r"\multicolumn{8}{@{}l}{\emph{Not full runs}} \\",
        r"short$^{a}$ & 1 & 89.0 & 99.0 & -- & -- & -- & 1.5 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip\scriptsize $^{a}$ limit 4, overrides",
        r"\end{table*}",
    ]


def test_equal_numbers_are_both_bold() -> None:
    text = render_latex(make_board([run("a", 0.70004), run("b", 0.69996)]))
    assert text.count(r"\textbf{70.0}") == 2


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 50%", r"a\_b \& 50\%"),
        ("{x}^2~#$", r"\{x\}\textasciicircum{}2\textasciitilde{}\#\$"),
        ("C:\\dir", r"C:\textbackslash{}dir"),
        ("plain", "plain"),
    ],
)
def test_latex_sets_names_as_they_are_written(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_latex_compiles(tmp_path: Path) -> None:
    engine = shutil.which("pdflatex") or shutil.which("lualatex")
    if engine is None:
        pytest.skip("there is neither pdflatex nor lualatex on this machine")
    title = 'A_b & 50% {c} ^~\\ #1 $x$ <"|"> ± é'
    records = [run("vwe", 0.66), run("irn", 0.7), run("odd", 0.5, title=title), run("odd", 0.5, 1, limit=3)]
    document = (
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
        + render_latex(make_board(records), published=True)
        + "\\end{document}\n"
    )
    (tmp_path / "table.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        [engine, "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    if b"booktabs.sty' not found" in done.stdout:
        pytest.skip("this LaTeX has no booktabs")
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "table.pdf").is_file()


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_row_per_number_of_each_run_unrounded() -> None:
    found = rows(render_csv(make_board([run("vwe", 0.6666666666666666), run("vwe", 0.7, 1)])))
    assert [(row["number"], row["run_id"], row["miou"]) for row in found if row["number"] == "seg"] == [
        ("seg", "vwe-0", "0.6666666666666666"),
        ("seg", "vwe-1", "0.7"),
    ]
    (seg, *_) = (row for row in found if row["number"] == "seg")
    assert (seg["published_miou"], seg["published_comparable"], seg["seconds"]) == ("0.663", "True", "5400.0")
    assert len({row["entry"] for row in found}) == 1
    assert seg["gpu_seconds"] == ""


def test_csv_marks_what_has_no_rank(board: Board) -> None:
    found = {row["method"]: (row["rank"], row["marks"]) for row in rows(render_csv(board))}
    assert found == {"best": ("1", ""), "vwe": ("2", ""), "short": ("", "limit 4; overrides")}


def test_csv_lists_published_numbers_on_demand() -> None:
    found = rows(render_csv(make_board([]), published=True))
    assert {"title": "VWE", "number": "seg_crf", "miou": "0.672", "source": "paper"}.items() <= next(
        row for row in found if (row["title"], row["number"]) == ("VWE", "seg_crf")
    ).items()


def written(work: Path, *records: RunRecord) -> Path:
    for one in records:
        folder = work / "runs" / one.run_id
        folder.mkdir(parents=True)
        one.write(folder)
    return work


def test_the_command_survives_a_damaged_record(command: Command, tmp_path: Path) -> None:
    work = written(tmp_path / "work", run("vwe", 0.6), run("broken", 0.9))
    (work / "runs" / "broken-0" / "record.json").write_text("{", encoding="utf-8")
    outcome = command("leaderboard", "--work-dir", work, "--format", "json")
    assert outcome.status == 0
    assert "broken-0" in outcome.errors
    found = Board.model_validate(json.loads(outcome.output))
    assert [entry.method for table in found.datasets for entry in table.entries] == ["vwe"]


def test_the_command_writes_a_file(command: Command, tmp_path: Path) -> None:
    work = written(tmp_path / "work", run("vwe", 0.6))
    outcome = command(
        "leaderboard", "--work-dir", work, "--format", "csv", "--output", tmp_path / "board.csv"
    )
    assert (outcome.status, outcome.output) == (0, "")
    assert rows((tmp_path / "board.csv").read_text(encoding="utf-8"))[0]["method"] == "vwe"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dataset", "shape"), "is on a dataset 'shape' (did you mean 'shapes'?)"),
        (("--format", "html"), "--out DIR"),
        (("--format", "md", "--out", "site"), "--output FILE"),
        (("--format", "csv", "--output", "nowhere/board.csv"), "there is no folder nowhere"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    work = written(tmp_path / "work", run("vwe", 0.6, dataset={"name": "shapes"}))
    outcome = command("leaderboard", "--work-dir", work, *arguments)
    assert outcome.status == 2
    assert words in outcome.sentence
