"""Dotenv files: one NAME=value a line."""

from collections.abc import Mapping


def parse(text: str) -> dict[str, str]:
    """Name and value of every line; blank lines and comments are skipped."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def render(values: Mapping[str, str]) -> str:
    """The text `parse` reads back."""
    return "".join(f"{name}={value}\n" for name, value in values.items())
