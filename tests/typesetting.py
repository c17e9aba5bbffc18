"""TeX on the tables that the report writes, where there is a TeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

needs_tex = pytest.mark.skipif(not shutil.which("pdflatex"), reason="no TeX here")
HEAD = r"""\documentclass{article}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
"""
COMPLAINTS = r"^(?:Overfull .*|LaTeX Warning: (?!Label).*|Missing character.*)"


def complaints(tables: str, folder: Path) -> list[str]:
    """What TeX says of boxes too large for a landscape page and of letters that it has not; fails where it gives up."""
    (folder / "made.tex").write_text(f"{HEAD}{tables}\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "made.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
    log = (folder / "made.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert (folder / "made.pdf").stat().st_size > 10_000
    return re.findall(COMPLAINTS, log, flags=re.M)
