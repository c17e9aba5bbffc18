"""A user's folder of pictures and lines, for every test here."""

from albums import album, claim_png, row

__all__ = ["album", "claim_png", "row"]
