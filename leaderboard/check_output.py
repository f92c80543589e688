"""The outcome of a regression check for people, for CI servers (JUnit XML) and for GitHub (annotations)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from leaderboard.baseline import Baseline
from leaderboard.check import Check, Finding

_STYLES = {"regression": "bold red", "missing": "bold red", "improved": "green"}
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_view(check: Check, baseline: Baseline) -> RenderableType:
    """The table of what was compared, what differs in the config, and what was not compared."""
    table = Table(padding=(0, 1), pad_edge=False)
    table.add_column("what", overflow="fold")
    for header in ("baseline", "band", "now", "change"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for finding in check.findings:
        place = finding.note if finding.verdict != "not compared" else ""  # said below, once for all
        verdict = finding.verdict + (f": {place}" if place else "")
        table.add_row(*_cells(finding), Text(verdict, _STYLES.get(finding.verdict, "")))
    lines = [f"{change.name}: {' → '.join(change.values)}" for change in check.changes]
    if lines:
        lines.insert(0, "The config differs from the baseline's:")
    return Group(_title(check, baseline), table, *(Text(line) for line in [*lines, *check.refusals]))


def junit_xml(check: Check, baseline: Baseline) -> bytes:
    """A JUnit report: a test per quantity, failed where it regressed, skipped where it was not compared."""
    skipped = [finding for finding in check.findings if finding.verdict in ("not compared", "new")]
    suite = ElementTree.Element(
        "testsuite",
        name=f"regression of {_recipe(baseline)}",
        tests=str(len(check.findings)),
        failures=str(sum(finding.failed for finding in check.findings)),
        skipped=str(len(skipped)),
        errors="0",
    )
    for finding in check.findings:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_recipe(baseline), name=_xml_text(finding.name)
        )
        if finding.failed:
            failure = ElementTree.SubElement(case, "failure", message=_xml_text(sentence(finding)))
            failure.text = _xml_text("\n".join([sentence(finding), *_changes(check)]))
        elif finding in skipped:
            ElementTree.SubElement(case, "skipped", message=_xml_text(finding.note))
        else:
            ElementTree.SubElement(case, "system-out").text = _xml_text(sentence(finding))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True) + b"\n"


def github_annotations(check: Check, baseline: Baseline) -> Iterator[str]:
    """Workflow commands: an error per regression, notices for improvements and for what was not compared."""
    title = f"regression check, {_recipe(baseline)}"
    for finding in check.findings:
        if finding.failed:
            yield workflow_command("error", title, "\n".join([sentence(finding), *_changes(check)]))
        elif finding.verdict == "improved":
            yield workflow_command("notice", title, sentence(finding))
    for note in check.refusals:
        yield workflow_command("notice", title, note)


def workflow_command(level: str, title: str, message: str) -> str:
    """One line that GitHub shows as an annotation; whatever the texts hold, it stays one command.

    Escapes as GitHub's own toolkit does: percent signs and line ends, in properties also colons and commas.
    """
    data = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    name = title.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    name = name.replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={name}::{data}"


def sentence(finding: Finding) -> str:
    """A finding in words: `pseudo, train is 50.0, worse than the band 55.2 to 61.0 around 58.1`."""
    _, mean, band, now, _ = _cells(finding)
    note = f" ({finding.note})" if finding.note else ""
    if finding.verdict == "missing":
        return f"{finding.name} is missing{note}; the baseline has {mean}"
    if finding.band is None or finding.now is None:
        return f"{finding.name} is {now}{note}"
    where = {"regression": "worse than", "improved": "better than"}.get(finding.verdict, "within")
    return f"{finding.name} is {now}, {where} the band {band} around {mean}{note}"


def _cells(finding: Finding) -> tuple[str, str, str, str, str]:
    band, now = finding.band, finding.now
    change = "-"
    if band is not None and now is not None:
        change = (
            f"{round(100 * (now - band.mean), 1) + 0.0:+.1f}"
            if finding.quantity == "mIoU"
            else f"× {now / band.mean:.2f}"
        )
    return (
        finding.name,
        "-" if band is None else _value(finding, band.mean),
        "-" if band is None else f"{_value(finding, band.low)} to {_value(finding, band.high)}",
        "-" if now is None else _value(finding, now),
        change,
    )


def _value(finding: Finding, value: float) -> str:
    if finding.quantity == "mIoU":
        return f"{100 * value:.1f}"
    return f"{value:.1f} s" if finding.quantity == "time" else f"{value / (1 << 30):.2f} GiB"


def _changes(check: Check) -> list[str]:
    return [f"config: {change.name}: {' → '.join(change.values)}" for change in check.changes]


def _title(check: Check, baseline: Baseline) -> Text:
    commit = (baseline.provenance.commit or "no commit")[:8]
    runs = check.run_ids[0] if len(check.run_ids) == 1 else f"mean of {len(check.run_ids)} runs"
    return Text(f"{runs} against {len(baseline.runs)} runs of {_recipe(baseline)} at {commit}; mIoU in %")


def _recipe(baseline: Baseline) -> str:
    variant = f" ({baseline.variant})" if baseline.variant else ""
    return f"{baseline.method}{variant} on {baseline.dataset}"


def _xml_text(text: str) -> str:
    """Text without the characters that XML cannot hold, not even escaped."""
    return _NOT_XML.sub("?", text)
