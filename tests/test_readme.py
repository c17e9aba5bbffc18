"""README's tables follow from the sources, and the test fails when they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge import readme
from expunge.core import plugins
from expunge.core.errors import ExpungeError

README = Path(__file__).resolve().parents[1] / "README.md"


def rows(table: str) -> dict[str, list[str]]:
    """First cell -> the others, without the head."""
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return {
        cells[0].strip("` "): [c.strip() for c in cells[1:]] for cells in (x.strip("| ").split(" | ") for x in lines)
    }


def test_readme_is_current():
    text = README.read_text(encoding="utf-8")
    assert readme.written(text) == text, f"README.md is not current: run {readme.COMMAND}"


def test_every_method_has_its_row_with_stage_line_and_paper():
    found = rows(readme.method_table())
    assert list(found) == [m.name for m in plugins.entries("methods")]
    assert found["npo"][0] == "training" and found["npo"][1].startswith("Treat the forgotten")
    assert found["npo"][2] == 'Zhang et al., "Negative Preference Optimization" (COLM 2024)'
    assert all(len(cells) == 3 and all(cells) for cells in found.values())


def test_the_matrix_says_yes_or_what_is_lacking():
    found = rows(readme.capability_table())
    (head,) = [line for line in readme.capability_table().splitlines() if line.startswith("| method")]
    assert "albef, blip: retrieval" in head and "mllm: answering" in head
    assert found["gradient_ascent"] == ["yes"] * 3
    for method in ("cse", "multidelete"):
        assert found[method] == ["yes", "yes", "no: needs Fuses"]
    assert (
        "CSE and MultiDelete" in readme.capability_table()
        and "*Fuses*: Sends image-text pairs" in readme.capability_table()
    )


def test_a_stale_file_is_found_and_mended(tmp_path, capsys):
    text = README.read_text(encoding="utf-8").replace("| `npo` | training |", "| `npo` | decoding |")
    file = tmp_path / "README.md"
    file.write_text(text, encoding="utf-8")
    assert readme.main(["--check", "--file", str(file)]) == 1 and file.read_text(encoding="utf-8") == text
    assert "not current" in capsys.readouterr().err
    assert readme.main(["--file", str(file)]) == 0 and file.read_text(encoding="utf-8") == README.read_text(
        encoding="utf-8"
    )
    assert readme.main(["--check", "--file", str(file)]) == 0


def test_markers_that_are_missing_are_named():
    with pytest.raises(ExpungeError, match="<!-- methods: begin -->"):
        readme.written("nothing here")
