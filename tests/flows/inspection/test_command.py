"""Breaks when the command, the terminal or the page hides something, or lets a page's own text steer either."""

from __future__ import annotations

import io
import re
from html import unescape
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.config import RunConfig
from flows.inspection.blocks import ELLIPSIS, Beside, Excerpt, Fields, Note, Page, Piece, Section, Table, excerpt
from flows.inspection.command import TEMPLATE
from flows.inspection.copies import beside, similarity
from flows.inspection.pages import removed_lines
from flows.inspection.terminal import show
from tasks.report.page import render_page


def hibari(made: RunConfig, *arguments: str) -> Result:
    run_file = str(Path(made.root).parent / "run.yaml")
    return CliRunner().invoke(app, ["inspect", run_file, *arguments], env={"COLUMNS": "500"})


def test_one_command_says_why_a_page_is_not_in_the_corpus(made: RunConfig) -> None:
    result = hibari(made, "--url", "https://c.example.jp/copy")
    assert result.exit_code == 0, result.output
    assert "Not in the corpus: exact_duplicate" in result.output
    assert "https://a.example.jp/kept stands for it" in result.output
    for arguments in ([], ["--kept"], ["--rule", "too_few_letters"], ["--what-if", "min_letters=50"]):
        assert hibari(made, *arguments).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rule", "too_few_leters"], "did you mean too_few_letters"),
        (["--kept", "--url", "https://a.example.jp/"], "one question at a time"),
        (["--id", "12345"], "32 hexadecimal digits"),
        (["--what-if", "min_leters=1"], "did you mean min_letters"),
        (["--num", "0"], "--num"),
    ],
    ids=["rule", "two", "id", "what-if", "num"],
)
def test_a_question_that_makes_no_sense_is_bad_usage(made: RunConfig, arguments: list[str], says: str) -> None:
    result = hibari(made, *arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_an_unfinished_run_names_the_command_that_finishes_it(made: RunConfig, tmp_path: Path) -> None:
    result = hibari(made, "--root", str(tmp_path))
    assert result.exit_code == 1
    assert f"--root {tmp_path} --until deduplicate" in result.output
    result = hibari(made, "--set", "curate.quality.min_letters=1")
    assert result.exit_code == 1
    assert "stale: quality.min_letters: 400 -> 1" in result.output


def test_the_page_says_what_the_terminal_says_and_loads_nothing(made: RunConfig, tmp_path: Path) -> None:
    for arguments in (["--url", "https://c.example.jp/second"], ["--what-if", "min_letters=50"], []):
        terminal = hibari(made, *arguments).output
        page = tmp_path / "page.html"
        result = hibari(made, *arguments, "--html", str(page))
        assert "written to" in result.output
        html = page.read_text()
        assert not re.search(r"<(script|link|img|iframe)|@import|url\(", html)
        body = unescape(re.sub("</?mark>", "", html.split("<body>")[1]))
        missing = [word for word in terminal.split() if word not in body]
        assert not missing


EVERYTHING = Page(
    "title <b>",
    "lead",
    [
        Section("section", [Note("a \x1b[2Jnote", "bad"), Fields([("name", "value"), ("nothing", None)])]),
        Section(
            "inner",
            [
                Table(["one", "two"], [["[red]x[/]", "1"], ["y", "2"]], frozenset({1}), {0: "bad"}, {1: "group"}),
                Excerpt([Piece("文"), Piece("\u202e章<i>", marked=True)]),
                Beside("left", "right", [([Piece("左")], [Piece("右", marked=True)])]),
            ],
            inner=True,
        ),
    ],
)


def test_every_kind_of_block_is_shown_by_both() -> None:
    terminal = io.StringIO()
    show(EVERYTHING, Console(file=terminal, width=100))
    html = render_page(TEMPLATE, {"name": "x", "kind": "inspection", "page": EVERYTHING})
    for text in ("title <b>", "section", "value", "[red]x[/]", "group", "章<i>", "左", "右", "left", "lead"):
        assert text in terminal.getvalue()
        assert text in unescape(html)
    assert "<b>" not in html
    assert "<i>" not in html
    assert "nothing" not in terminal.getvalue() + html


def test_a_page_cannot_steer_the_terminal() -> None:
    terminal = io.StringIO()
    show(EVERYTHING, Console(file=terminal, width=100))
    assert "\x1b" not in terminal.getvalue()
    assert "\\x1b[2J" in terminal.getvalue()
    assert "\u202e" not in terminal.getvalue()


def test_an_excerpt_shows_what_is_around_its_spans() -> None:
    text = "".join(chr(ord("ぁ") + place % 80) for place in range(1000))
    found = excerpt(text, [(500, 503), (502, 510), (900, 901)], around=5)
    assert [piece.text for piece in found.pieces] == [
        ELLIPSIS, text[495:500], text[500:510], text[510:515],
        ELLIPSIS, text[895:900], text[900:901], text[901:906], ELLIPSIS,
    ]  # fmt: skip
    assert [piece.text for piece in found.pieces if piece.marked] == [text[500:510], text[900:901]]
    assert excerpt(text, [], most=10).pieces == [Piece(text[:10] + "…")]
    assert excerpt("短い", [(0, 2)]).pieces == [Piece("短い", marked=True)]
    long = excerpt(text, [(0, 1000)], most=50)
    assert sum(len(piece.text) for piece in long.pieces if piece.marked) == 50, "a whole page is not marked"


def test_texts_beside_each_other_show_where_they_differ() -> None:
    one, other = "一行目\n同じ行\n三行目は違う\n四行目", "一行目\n同じ行\n三行目は同じ\n四行目\n五行目"
    found = beside("a", one, "b", other)
    marks = [["".join(piece.text for piece in side if piece.marked) for side in line] for line in found.lines]
    assert [pair for pair in marks if any(pair)] == [["違う", "同じ"], ["", "五行目"]]
    assert similarity("あいうえおか", "あいうえおか", 5) == 1
    assert similarity("あいうえおか", "あいうえおき", 5) == 1 / 3
    many = beside("a", "\n".join(map(str, range(5000))), "b", "")
    assert len(many.lines) < 50


def test_removed_lines_are_those_that_are_not_left() -> None:
    assert removed_lines("あ\nx\nあ\ny", "あ\nあ") == [(2, 3), (6, 7)]
    assert removed_lines("あ\nい", "あ\nい") == []
    assert removed_lines("x\ny", "") == [(0, 1), (2, 3)]
