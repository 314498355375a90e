"""The page shows each figure of the frame, and fits a narrow terminal."""

import io
from collections import Counter
from dataclasses import replace

from rich.console import Console

from millrace.watching.frame import Frame
from millrace.watching.reading import Agent
from millrace.watching.screen import page, sparkline

FRAME = Frame(
    seconds=2.0,
    decided=10,
    replayed=2,
    approved=7,
    declined=Counter(INSUFFICIENT_CREDIT=2, CARD_LOST=1),
    answered=8,
    stood_in=2,
    in_flight=1,
    latency_ms={"gateway answer": (1.5, 9.5, 12.0), "authorizer batch": (None, None, None)},
    agents={"authorization": Agent(1234, "OperationalError: no database")},
    events={"dead letter (authorization)": 2},
    standing={"circuit of the gateway": "open"},
    holds={"CZK": (3, 123456), "JPY": (1, 500)},
)


def drawn(frame: Frame, width: int = 110) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(page(frame, (1.0, 2.0)))
    return out.getvalue()


def test_every_figure_is_on_the_page() -> None:
    text = drawn(FRAME)
    for words in ("6.0 /s", "70.0%", "7 of 10", "25.0%", "1.5", "12.0", "51 INSUFFICIENT_CREDIT"):
        assert words in text
    for words in ("41 CARD_LOST", "1,234", "no database", "1,234.56 CZK", "500 JPY"):
        assert words in text
    assert "dead letter (authorization)" in text
    assert "circuit of the gateway" in text


def test_a_part_that_does_not_answer_is_named() -> None:
    text = drawn(replace(FRAME, silent={"worker": "connection refused"}, agents={}))
    assert "worker does not answer: connection refused" in text


def test_a_quiet_frame_and_a_narrow_terminal_are_drawn_too() -> None:
    quiet = replace(
        FRAME, decided=0, approved=0, declined=Counter(), answered=0, stood_in=0, holds={}
    )
    text = drawn(quiet, width=60)
    assert "nothing was declined" in text
    assert max(map(len, text.splitlines())) <= 60


def test_a_sparkline_is_full_at_its_highest() -> None:
    assert sparkline([0, 4, 8]) == " ▄█"
    assert sparkline([0, 0]) == "  "
