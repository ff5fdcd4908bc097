"""`hibari hosts`: a list of blocked hosts from the pages that curation measured.

write_ng_hosts(load_run("configs/demo.yaml"), Path("ng-hosts.txt"))
"""

from __future__ import annotations

from pathlib import Path

from flows.config import ConfigError, RunConfig
from flows.plan import plan_corpus
from storage.artifact import data_files, read_manifest
from storage.uri import write_bytes
from tasks.refine.ng_hosts import MIN_PAGES, MIN_SHARE, NgHost, find_ng_hosts, to_list


def write_ng_hosts(run: RunConfig, out: Path, min_share: float = MIN_SHARE, min_pages: int = MIN_PAGES) -> list[NgHost]:
    """Write the hosts of a run whose pages use NG words to `out`, for `refine.hosts.files`.

    Raises:
        ConfigError: curate is not complete, or looked for no NG words.
    """
    if not run.curate.quality.ng_words.files:
        raise ConfigError(["curate.quality.ng_words.files is empty: no page was searched for NG words"])
    curated = plan_corpus(run)[0]
    if read_manifest(curated.uri) is None:
        raise ConfigError([f"curate is not complete at {curated.uri}; first: {curated.rerun}"])
    metrics = data_files(curated.uri, "metrics/")
    found = find_ng_hosts(metrics, run.curate.quality.max_ng_word_ratio, min_share, min_pages)
    write_bytes(str(out), to_list(found, run.label).encode())
    return found
