"""The texts on which tokenizers are compared: a run's held-out documents, given texts, source code.

A run's documents are those that it holds out of training (`storage.held_out`), of its corpus and of every other source,
so that no new piece was learned on them. Given texts are taken whole, whether a tokenizer has seen them or not. Of each
text at most `max_characters` are read into memory and used: whole documents, those with the lowest hash of their id,
whatever the order of the files.

    for kind in run_texts(run, corpus_uri) + given_texts(compared):
        chosen = choose(kind.documents(), compared.max_characters)
"""

from __future__ import annotations

import heapq
import logging
import platform
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.config import RunConfig
from flows.tokenizer_comparison.config import Compared
from storage.corpus import corpus_shards, corpus_texts
from storage.documents import document_id
from storage.held_out import is_validation, split_hash
from storage.sources import SourceLayout, read_source
from storage.uri import expand_glob, read_bytes
from tasks.binarize.config import CORPUS, SourceConfig

logger = logging.getLogger(__name__)

Documents = Iterator[tuple[bytes, str]]  # id, text
_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests"}  # not every Python comes with its tests


@dataclass(frozen=True)
class TextKind:
    """A row of the comparison.

    Attributes:
        origin: what the documents are, for people.
        documents: reads them from the beginning each time it is called.
        weight: of a run's source, its share of the mixture.
    """

    name: str
    language: str
    origin: str
    documents: Callable[[], Documents]
    weight: float | None = None


def choose(documents: Documents, max_characters: int) -> list[str]:
    """Whole documents with the lowest hash of their id, up to so many characters, the first of them in any case.

    They come in the order of that hash. Memory: the chosen documents and one more.
    """
    chosen: list[tuple[int, bytes, str]] = []  # a heap, the highest hash first
    characters = 0
    for key, text in documents:
        if not text:
            continue
        heapq.heappush(chosen, (-split_hash(key), key, text))
        characters += len(text)
        while characters > max_characters and len(chosen) > 1:
            characters -= len(heapq.heappop(chosen)[2])
    return [text for _, _, text in sorted(chosen, reverse=True)]


def run_texts(run: RunConfig, corpus: str) -> list[TextKind]:
    """The held-out documents of each source of a run.

    Args:
        corpus: URI of the deduplicated corpus.
    """
    ratio = run.binarize.validation_ratio
    held_out = f"held out of training ({100 * ratio:.3g} % of the documents)"
    total = sum(run.weights.values())
    return [
        TextKind(
            name=source.name,
            language=source.language,
            origin=f"{'the corpus' if source.name == CORPUS else source.name}, {held_out}",
            documents=partial(_held_out, source, corpus, ratio),
            weight=source.weight / total,
        )
        for source in run.sources
    ]


def given_texts(compared: Compared, taken: Iterable[str] = ()) -> list[TextKind]:
    """Texts and code named for the comparison; a name that is taken gets a number.

    Raises:
        FileNotFoundError: a path that matches nothing.
    """
    names = set(taken)
    kinds = []
    for text in compared.texts:
        expand_glob(text.files)  # what is missing is said before anything runs
        name = _free_name(text.files.rsplit("/", 1)[-1].split(".")[0] or text.language, names)
        kinds.append(TextKind(name, text.language, text.files, partial(read_source, [text.files], name)))
    if compared.code:
        files = [file for uri in compared.code for file in expand_glob(uri)]
        kinds.append(TextKind(_free_name("code", names), "code", ", ".join(compared.code), partial(_code, files)))
    return kinds


def standard_library() -> TextKind:
    """The standard library of the Python that runs this: source code that every machine has."""
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in root.rglob("*.py") if not _NOT_LIBRARY & set(path.relative_to(root).parts))
    return TextKind(
        "code",
        "code",
        f"the standard library of Python {platform.python_version()}, without its tests",
        partial(_code, [str(path) for path in files], str(root)),
    )


def _held_out(source: SourceConfig, corpus: str, ratio: float) -> Documents:
    documents: Documents
    if source.documents is None:
        documents = (document for shard in corpus_shards(corpus) for document in corpus_texts(shard))
    else:
        documents = read_source(source.documents, source.name, SourceLayout(**source.reading))
    return ((key, text) for key, text in documents if is_validation(key, ratio))


def _code(files: list[str], root: str = "") -> Documents:
    """Each file a document; one that is not UTF-8 is left out, and said."""
    for file in files:
        try:
            text = read_bytes(file).decode()
        except UnicodeDecodeError:
            logger.warning("%s is not UTF-8 and is left out of the comparison", file)
            continue
        yield document_id("code", file.removeprefix(root)), text


def _free_name(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    taken.add(found)
    return found
