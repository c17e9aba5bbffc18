"""How much, as a person says it: bytes by powers of ten, seconds as minutes and hours."""

from __future__ import annotations


def gigabytes(count: float) -> str:
    """Bytes: ``2.0 GB``, and ``412 MB`` below one. GB are 10^9 bytes, as on a card's box and in ``evals.cost``."""
    return f"{count / 1e9:.1f} GB" if count >= 999.5e6 else f"{count / 1e6:.0f} MB"  # never 1000 MB


def duration(seconds: float, *, tenths: bool = True) -> str:
    """Seconds: ``0.2 s``, ``48 s``, ``5 min 12 s``, ``3 h 05 min``. Without ``tenths``, which time left does not have,
    the first is ``0 s``."""
    whole = round(seconds)
    if tenths and whole < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
