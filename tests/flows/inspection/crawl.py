"""A crawl with a page for each thing that can become of one, and a run that has curated and deduplicated it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import yaml

from flows.config import RunConfig, load_run
from flows.plan import plan_corpus
from storage.artifact import data_files
from storage.ledger import Rule
from storage.tombstones import TOMBSTONES, add_tombstones, tombstones_of
from tasks.curate.curate import curate
from tasks.deduplicate.deduplicate import deduplicate
from tasks.stage import execute
from tests.flows.pages import ENGLISH, english, html
from tests.flows.pages import japanese as text

ITEM = (
    "問い。雲雀が空高く舞い上がりながら長く鳴き続けるのは、どの季節の野原でもっともよく聞かれるか、理由とともに述べよ。"
)
FOOTER = "プライバシーポリシー サイトマップ お問い合わせ 会社概要 利用規約 著作権 Copyright"
MAIL = "おたずねは kansatsu-kai@hibari.example.jp まで、件名に観察会と書いてお送りください。"
LONG = text(20, 8).replace("。", "、").replace("\n", "") + "と祖母は言った。"
KANA = "ひばりのうたをきくあさのさんぽ" * 12


def page(body: str, title: str) -> bytes:
    return f'<html lang="ja"><head><meta charset="utf-8"><title>{title}</title></head><p>{body}</p></html>'.encode()


def mixed(seed: int) -> bytes:
    return html("\n".join([text(seed), *ENGLISH]), "ja")


# URL, body, HTTP status, content type, and what becomes of it.
PAGES: list[tuple[str, bytes, str, str, Rule]] = [
    ("https://a.example.jp/kept", html(text(0), "ja"), "200 OK", "text/html", Rule.KEPT),
    ("https://a.example.jp/gone", html(text(1), "ja"), "404 Not Found", "text/html", Rule.BAD_STATUS),
    ("https://a.example.jp/empty", b"", "200 OK", "text/html", Rule.EMPTY_RECORD),
    ("https://a.example.jp/large", html(text(2) * 200, "ja"), "200 OK", "text/html", Rule.PAGE_TOO_LARGE),
    ("https://a.example.jp/report.pdf", b"%PDF-1.7 x", "200 OK", "application/pdf", Rule.NOT_HTML),
    ("https://a.example.jp/english", html(english(1), "en"), "200 OK", "text/html", Rule.NO_JAPANESE_BYTES),
    (
        "https://a.example.jp/bytes",
        f"<html lang=ja><p>{KANA}".encode() + bytes(range(128, 256)) * 50 + b"\x81\xff\x9f\xfd" * 50,
        "200 OK",
        "text/html",
        Rule.MOJIBAKE,
    ),
    ("https://a.example.jp/blank", page("", KANA), "200 OK", "text/html", Rule.EMPTY_TEXT),
    ("https://a.example.jp/translated", page(english(2), KANA), "200 OK", "text/html", Rule.NOT_JAPANESE),
    ("https://b.example.jp/short", html(text(3, 3), "ja"), "200 OK", "text/html", Rule.TOO_FEW_LETTERS),
    ("https://b.example.jp/long", html(f"{text(4)}\n{LONG}", "ja"), "200 OK", "text/html", Rule.SENTENCE_TOO_LONG),
    ("https://b.example.jp/taken-down", html(text(5), "ja"), "200 OK", "text/html", Rule.TAKEDOWN),
    ("https://b.example.jp/mixed", mixed(6), "200 OK", "text/html", Rule.KEPT),
    ("https://b.example.jp/mail", html(f"{text(7)}\n{MAIL}", "ja"), "200 OK", "text/html", Rule.KEPT),
    ("https://c.example.jp/copy", html(text(0), "ja"), "200 OK", "text/html", Rule.EXACT_DUPLICATE),
    ("https://c.example.jp/first", html(text(8, 32), "ja"), "200 OK", "text/html", Rule.KEPT),
    (
        "https://c.example.jp/second",
        html(text(8, 32).replace("三晩", "晩"), "ja"),
        "200 OK",
        "text/html",
        Rule.NEAR_DUPLICATE,
    ),
    ("https://egg.5ch.net/thread", html(text(9), "ja"), "200 OK", "text/html", Rule.BLOCKED_HOST),
    ("https://c.example.jp/thin", html(f"{text(10, 11)}\n{FOOTER}", "ja"), "200 OK", "text/html", Rule.EMPTIED),
    ("https://c.example.jp/quiz", html(f"{text(11)}\n{ITEM}", "ja"), "200 OK", "text/html", Rule.CONTAMINATED),
    # The same address twice: refused once, kept the next time.
    ("https://a.example.jp/twice", b"", "503 Service Unavailable", "text/html", Rule.BAD_STATUS),
    ("https://a.example.jp/twice", html(text(12), "ja"), "200 OK", "text/html", Rule.KEPT),
]
TORN = "torn"  # between the others, without an address
TAKEN_DOWN = "https://b.example.jp/taken-down"


def record(number: int, url: str, body: bytes, status: str, content_type: str) -> bytes:
    """A WARC response as its own gzip member; later records were fetched earlier, so the first of copies survives."""
    http = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2024-03-02T00:00:{59 - number:02}Z\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + http + b"\r\n\r\n", compresslevel=0, mtime=0)


def write_run(folder: Path) -> Path:
    """Two WARC files, the second with a torn member, a benchmark, and a run file."""
    members = [record(number, *page[:4]) for number, page in enumerate(PAGES)]
    torn = bytearray(record(59, "https://a.example.jp/torn", b"x" * 3000, "200 OK", "text/html"))
    torn[600:900] = b"\0" * 300
    (folder / "CC-MAIN-2024-10-00000.warc.gz").write_bytes(b"".join(members[0::2]))
    (folder / "CC-MAIN-2024-10-00001.warc.gz").write_bytes(bytes(torn) + b"".join(members[1::2]))
    (folder / "quiz.jsonl").write_text(json.dumps({"id": "q1", "text": ITEM}, ensure_ascii=False) + "\n")
    quiz = {"name": "quiz", "files": [str(folder / "quiz.jsonl")], "fields": ["text"]}
    run = {
        "name": "tiny",
        "root": str(folder / "runs"),
        "executor": {"kind": "process", "workers": 1},
        "curate": {"sources": [str(folder / "*.warc.gz")], "max_page_bytes": 60_000, "max_bad_record_ratio": 0.5},
        "refine": {"min_characters": 600, "decontamination": {"benchmarks": [quiz]}},
        "expand": {"base": "none.model"},
        "initialize": {"base_model": {"random": {"hidden_size": 32, "num_layers": 2, "num_heads": 2}}},
        "sources": [{"name": "corpus", "language": "ja", "weight": 1.0}],
        "mix": {"train_tokens": 8192, "validation_tokens": 256},
        "train": {"seq_len": 64, "global_batch": 4, "micro_batch": 1, "warmup_steps": 1},
    }  # fmt: skip
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False))
    return path


def make_corpus(run: RunConfig) -> None:
    """Curate and deduplicate, without Prefect."""
    curated, deduplicated = plan_corpus(run)
    tombstones = tombstones_of(curated.uri, curated.inputs.get(TOMBSTONES))
    execute(curated, lambda out: curate(run.curate, out=out, executor=run.executor, tombstones=tombstones))
    documents = data_files(curated.uri, "documents/")
    execute(
        deduplicated,
        lambda out: deduplicate(documents, run.deduplicate, run.refine, out=out, executor=run.executor),
    )


def make_run(folder: Path) -> RunConfig:
    """A finished corpus with a page taken down beforehand."""
    run = load_run(write_run(folder))
    add_tombstones(run.root, [TAKEN_DOWN], reason="request", list_digest="0" * 64)
    make_corpus(run)
    return run
