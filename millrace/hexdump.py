"""Bytes as people read them, whatever they hold."""


def dump(value: bytes | None) -> str:
    """Sixteen bytes a line: place, hex, and what is printable."""
    if value is None:
        return "  (none)"
    lines = []
    for start in range(0, len(value), 16):
        part = value[start : start + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"  {start:06x}  {part.hex(' '):47}  {shown}")
    return "\n".join(lines) or "  (empty)"
