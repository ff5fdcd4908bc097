"""What decides the scores of benchmarks beside the settings: their files, the versions of their forms, the libraries.

benchmark_digest("jsquad", run.evaluate)
"""

from __future__ import annotations

from flows.digests import digest_of, files_digest
from storage.uri import exists, join
from tasks.evaluate.config import EvaluateConfig

# What every benchmark computes with, and by category and profile what its metrics need besides.
LIBRARIES = ("sentencepiece", "tokenizers")
JUDGING_LIBRARIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("QA", "swallow-2023"): ("rapidfuzz",),
    ("RC", "swallow-2023"): ("rapidfuzz",),
    ("MT", "swallow-2023"): ("sacrebleu", "nagisa"),
    ("MT", "strict"): ("sacrebleu", "mecab-python3", "ipadic"),
    ("SUM", "strict"): ("emoji", "fugashi", "neologdn", "unidic-lite"),
}


def form_versions(config: EvaluateConfig) -> dict[str, int]:
    """`jsquad-strict` and so on -> version, of all that a config asks."""
    from tasks.evaluate.suite import load_benchmark  # what this and others below import is for runs, not for `--help`

    return {
        f"{name}-{profile}": load_benchmark(name).forms[profile].version
        for name in config.benchmarks
        for profile in config.profiles
    }


def benchmark_libraries(config: EvaluateConfig) -> tuple[str, ...]:
    """The libraries that decide what the benchmarks of a config score, beside those of every evaluation."""
    from tasks.evaluate.suite import load_benchmark

    libraries = set(LIBRARIES) if config.benchmarks else set[str]()
    for name in config.benchmarks:
        category = load_benchmark(name).category
        libraries.update(*(JUDGING_LIBRARIES.get((category, profile), ()) for profile in config.profiles))
    return tuple(sorted(libraries))


def benchmark_digest(name: str, config: EvaluateConfig) -> str:
    """Digest of what the files of a benchmark hold that an evaluation reads (items, shots, prompts) and of their names.

    Raises:
        ValueError: they are not there, or cannot be read.
    """
    from tasks.evaluate.suite import load_benchmark
    from tasks.evaluate.suite.hub import HUB
    from tasks.evaluate.suite.llm_jp import PREAMBLE
    from tasks.evaluate.suite.reading import records
    from tasks.evaluate.suite_plan import files_of

    files = files_of(load_benchmark(name), config)
    uris = [*files.items, *([files.shots] if files.shots else [])]
    if "swallow-2023" in config.profiles and files.prompts and exists(join(files.prompts, f"{name}.json")):
        uris += [uri for file in (f"{name}.json", PREAMBLE) if exists(uri := join(files.prompts, file))]
    hub = [digest_of([row for _, row in records(uri, [])]) for uri in uris if uri.startswith(HUB)]
    digest = files_digest([uri for uri in uris if not uri.startswith(HUB)])
    return digest_of([digest, *hub]) if hub else digest
