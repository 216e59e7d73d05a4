"""The fixture that every test of a chapter asks for."""

from chapter_cases import lab

__all__ = ["lab"]
