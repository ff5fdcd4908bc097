"""Fetches the texts that the shipped language model is trained on: packages of Debian 12, nothing else.

Out: `<out>/<group>.jsonl.gz` (`id`, `text`), a group being Japanese, Chinese in simplified and in traditional
characters, Korean, English, code, other languages in Latin letters, and those in any other script. The languages and
packages of a group take turns. Packages are fetched with `apt-get download`, which needs no root; package descriptions
come from the Translation files of the archive, in a list folder of our own below `--packages`. Licences and the command
that trains on the texts: `tasks/curate/data/ja-ngram.md`.

With `--aozora` also `ja_aozora.jsonl.gz`: of the shared works of Aozora Bunko those whose author has none in the WARC
files of the benchmark.

    python -m benchmarks.language_texts --packages /tmp/packages --out /tmp/texts
"""

from __future__ import annotations

import argparse
import gettext
import gzip
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
from pathlib import Path

from resiliparse.extract.html2text import extract_plain_text

PACKAGES = """
    abiword-common audacity-data binutils-common claws-mail-i18n darktable debian-edu-doc-ja
    debian-edu-doc-zh-cn debian-faq-ko debian-reference-zh-tw debmake-doc digikam-data dolphin evolution-common
    fortunes-zh freeciv-data gcc-12-locales gedit-common gimp-help-ja glade gnome-control-center-data
    gnome-user-docs gnucash-common gnumeric-common gramps groonga-doc iso-codes kate5-data kicad-doc-ja
    kicad-doc-zh kio kmymoney-common krita-l10n lilypond-doc-html-ja lilypond-doc-html-zh linux-doc-6.1
    live-manual-html maint-guide-zh-tw manpages-de manpages-es manpages-fr manpages-ja manpages-ja-dev
    manpages-pl manpages-ru manpages-zh okular phpmyadmin pidgin-data skrooge-common synaptic vim-runtime
    vlc-l10n wordpress-l10n
"""
DESCRIPTIONS = "ja zh_CN zh_TW ko de fr es it pl pt_BR ru uk vi cs nl hu fi"
OTHER_SCRIPTS = "ru uk be bg sr mk el ar fa he hi bn ta te th ka hy kk mn ur pa gu kn ml mr ne si as or my km lo am"
GROUPS = {"ja": "ja", "zh_CN": "zh_CN", "zh_TW": "zh_TW", "zh_HK": "zh_TW", "ko": "ko", "en": "en", "code": "code"}
GROUPS |= dict.fromkeys(OTHER_SCRIPTS.split(), "other_scripts")
MAX_CHARACTERS = 6_000_000  # of a group
PART_CHARACTERS = 10_000  # of a text

_LANGUAGE = (
    re.compile(r"/locale/([a-z]{2,3}(?:_[A-Z]{2})?)(?:@\w+)?/"),
    re.compile(r"/languages/(?:[a-z]+-)*?([a-z]{2,3}(?:_[A-Z]{2})?)\.mo$"),
    re.compile(r"/help/([a-z]{2}(?:_[A-Z]{2})?)(?:@\w+)?/"),
    re.compile(r"/share/man/([a-z]{2}(?:_[A-Z]{2})?)/"),
    re.compile(r"/translations/([a-z]{2}_[A-Z]{2})/"),
    re.compile(r"/doc/groonga-doc/(\w\w)/|/FAQ/(ko)/|/debian-reference/\w+\.(zh-tw)\.html$"),
    re.compile(r"\.(ja|zh-cn|zh-tw|zh|de|it|es|fr|pl|ca|ro)(?:\.utf-8)?\.html$"),
    re.compile(r"-(ja|zh-tw|zh-cn|zh)(?:/|_\d|$)"),
)
_ROFF = re.compile(r"\\f[BIRPC]|\\f\[\w*\]|\\[|&]|\\\(\w\w|\\s[-+]?\d", re.MULTILINE)
_TERMINAL = re.compile(r"\x1b\[[\d;]*m")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="folder for packages and what is in them (1.2 GB)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the texts")
    parser.add_argument("--aozora", type=Path, help="JSON lines of works, ids aozora/<author>/...")
    parser.add_argument("--manifest", type=Path, help="of the benchmark's WARC files, whose authors are left out")
    arguments = parser.parse_args()
    fetch(arguments.packages)
    texts: dict[str, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for language, id, text in sorted(chain(package_texts(arguments.packages), description_texts(arguments.packages))):
        group = GROUPS.get(language, "other_latin")
        texts[group][f"{language} {id.split('/')[0]}"] += [(f"{id}:{n}", part) for n, part in enumerate(parts(text))]
    arguments.out.mkdir(parents=True, exist_ok=True)
    for group, sources in sorted(texts.items()):
        write_group(arguments.out / f"{group}.jsonl.gz", list(sources.values()))
    if arguments.aozora:
        works = list(aozora_texts(arguments.aozora, arguments.manifest))
        write_group(arguments.out / "ja_aozora.jsonl.gz", [works])


def aozora_texts(works: Path, manifest: Path) -> Iterator[tuple[str, str]]:
    """(id, text) of the works whose author has no page in the manifest."""
    with gzip.open(manifest, "rt", encoding="utf-8") as file:
        authors = set(re.findall(r"/aozorabunko_text/cards/(\d+)/", file.read()))
    with gzip.open(works, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["id"].split("/")[1] not in authors:
                yield row["id"], row["text"]


def fetch(folder: Path) -> None:
    """Download and unpack what is not there yet."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    languages = "".join(f'"{language}";' for language in DESCRIPTIONS.split())
    settings = folder / "apt.conf"
    settings.write_text(
        f'#clear Acquire::Languages;\nAcquire::Languages {{{languages}}};\nDir::State::lists "{lists.resolve()}";\n'
        'Dir::Etc::parts "/dev/null";\nAcquire::GzipIndexes "false";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(settings.resolve())}
    if not list(lists.glob("*_i18n_Translation-ja")):
        subprocess.run(["apt-get", "update"], env=environment, check=True)
    for package in PACKAGES.split():
        if not (folder / package).exists():
            subprocess.run(["apt-get", "download", package], cwd=folder, env=environment, check=True)
            (archive,) = folder.glob(f"{package}_*.deb")
            subprocess.run(["dpkg-deb", "-x", archive, folder / package], check=True)


def package_texts(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(language, id, text) of every file that a reader knows and whose path tells its language."""
    for path in sorted(chain.from_iterable((folder / package).rglob("*") for package in PACKAGES.split())):
        name = path.relative_to(folder).as_posix()
        reader = next((read for pattern, read in READERS if re.search(pattern, name)), None)
        if reader is None or path.is_symlink() or not path.is_file():
            continue
        text = reader(path)
        if "\ufffd" not in text and text.strip():
            yield _language(name), name, text


def description_texts(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(language, id, text): the package descriptions of the archive."""
    for path in sorted((folder / "lists").glob("*_i18n_Translation-*")):
        language = path.name.rsplit("-", 1)[1].replace("%5f", "_")
        found = re.findall(r"^Description-\w+: (.*(?:\n .*)*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        described = [re.sub(r"\n ", "\n", re.sub(r"\n \.$", "\n", text, flags=re.MULTILINE)) for text in found]
        yield language, path.name, "\n".join(described)


def parts(text: str) -> Iterator[str]:
    """A text in parts of PART_CHARACTERS or a line more, cut between lines."""
    lines: list[str] = []
    num_characters = 0
    for line in text.split("\n"):
        lines.append(line)
        num_characters += len(line)
        if num_characters >= PART_CHARACTERS:
            yield "\n".join(lines)
            lines, num_characters = [], 0
    if any(lines):
        yield "\n".join(lines)


def write_group(path: Path, sources: list[list[tuple[str, str]]]) -> None:
    """Write texts, the sources (a language of a package) taking turns, until the group is full."""
    num_texts = num_characters = 0
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        for row in chain.from_iterable(zip_longest(*sources)):
            if row is not None and num_characters < MAX_CHARACTERS:
                file.write((json.dumps({"id": row[0], "text": row[1]}, ensure_ascii=False) + "\n").encode())
                num_texts, num_characters = num_texts + 1, num_characters + len(row[1])
    print(f"{path}: {num_texts:,} texts, {num_characters:,} characters of {len(sources)} sources")


def _language(name: str) -> str:
    """The language that a path names; English where it names none."""
    if name.endswith((".vim", ".yaml.gz")):
        return "code"
    for pattern in _LANGUAGE:
        if match := pattern.search(name):
            found = next(group for group in match.groups() if group)
            language, _, region = found.replace("-", "_").partition("_")
            return f"zh_{(region or 'CN').upper()}" if language == "zh" else "en" if language == "C" else language
    return "en"


def _read(path: Path) -> str:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.decode("utf-8", "replace")


def _messages(path: Path) -> str:
    try:
        with path.open("rb") as file:
            catalog: dict[object, str] = vars(gettext.GNUTranslations(file))["_catalog"]
    except ValueError:
        return ""  # a catalog with a broken head
    return "\n".join(message for key, message in catalog.items() if key != "" and message)


def _manual(path: Path) -> str:
    lines = (line for line in _read(path).split("\n") if not line.startswith(('.\\"', "'\\\"")))
    return _ROFF.sub("", "\n".join(re.sub(r"^[.'][A-Za-z]{1,2}\s*", "", line) for line in lines)).replace("\\-", "-")


def _page(path: Path) -> str:
    """A Mallard page: its paragraphs and titles."""
    blocks = ElementTree.parse(path).iter()
    texts = ("".join(block.itertext()) for block in blocks if block.tag.rsplit("}", 1)[-1] in ("p", "title", "code"))
    return "\n".join(" ".join(text.split()) for text in texts)


def _html(path: Path) -> str:
    return extract_plain_text(_read(path), main_content=True, list_bullets=False, alt_texts=False)


def _fortunes(path: Path) -> str:
    return _TERMINAL.sub("", _read(path)).replace("\n%\n", "\n")


READERS: tuple[tuple[str, Callable[[Path], str]], ...] = (
    (r"\.mo$", _messages),
    (r"/share/man/\w+/man\d/[^/]+\.gz$", _manual),
    (r"/share/help/[^/]+/gnome-help/.*\.page$", _page),
    (r"/Documentation/(?!_sources).*\.(?:rst|yaml)\.gz$|/vim\d+/(?:syntax|autoload|indent)/[^/]+\.vim$", _read),
    (r"/doc/(?!linux-doc).*\.html$|/debian-reference/.*\.html$", _html),
    (r"/fortunes/[^/]+\.u8$", _fortunes),
)

if __name__ == "__main__":
    main()
