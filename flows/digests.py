"""Digests of what a run reads from outside: WARC files, lists, benchmarks, tokenizers, models.

What a file holds is an input of a stage's fingerprint; where it lies is not.

    files_digest(["eval/niilc/*.jsonl"])
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.artifact import canonical_json, input_digests
from storage.uri import expand_glob, is_local, local_path
from tasks.curate.config import CurateConfig


def warcs_digest(curate: CurateConfig) -> str:
    """Digest of the WARC files: of Common Crawl's own by their names, of others by what they hold."""
    from tasks.curate.sources import list_warcs

    warcs = list_warcs(curate.sources, curate.commoncrawl)
    local = iter(input_digests(warc.uri for warc in warcs if warc.identity is None))
    return digest_of([(warc.name, warc.identity or next(local)) for warc in warcs])


def ng_words_digest(config: CurateConfig) -> str:
    """Digest of what the lists of NG words hold."""
    from tasks.curate.ngwords import ng_word_uris

    return digest_of(input_digests(ng_word_uris(config.quality.ng_words)))


def files_digest(uris: Sequence[str]) -> str:
    """One digest of what all files hold, in order, and of their names (which identify documents without an id)."""
    found = [file for uri in uris for file in expand_glob(uri)]
    return digest_of(
        [(uri.rsplit("/", 1)[-1], digest) for uri, digest in zip(found, input_digests(found), strict=True)]
    )


def file_digest(uri: str) -> str:
    """The sha256 of one file."""
    return input_digests([uri])[0]


def tokenizer_digest(base: str) -> str:
    """Digest of a tokenizer: a SentencePiece file, or the tokenizer files of a Hugging Face folder."""
    if is_local(base) and local_path(base).is_dir():
        names = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")
        return folder_digest(base, names)
    return file_digest(base)


def folder_digest(folder: str, names: Sequence[str] = ("*.json", "*.safetensors", "tokenizer.model")) -> str:
    """Digest of the named files of a local folder.

    Raises:
        FileNotFoundError: no such folder, or none of the files in it.
    """
    found = sorted({path for name in names for path in Path(folder).glob(name)})
    if not found:
        raise FileNotFoundError(f"no {', '.join(names)} in {folder}")
    digests = input_digests(str(path) for path in found)
    return digest_of([(path.name, digest) for path, digest in zip(found, digests, strict=True)])


def digest_of(value: Any) -> str:
    """The sha256 of a JSON value."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
