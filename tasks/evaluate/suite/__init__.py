"""The benchmarks by name. A module is imported when its benchmark is asked for.

load_benchmark("jsquad").label
"""

from __future__ import annotations

from importlib import import_module

from tasks.evaluate.benchmark import Benchmark

# name -> (module of this folder, attribute), in the order of the authors' tables: Japanese, then English.
MODULES: dict[str, tuple[str, str]] = {
    "jcommonsenseqa": ("jcommonsenseqa", "BENCHMARK"),
    "jemhopqa": ("jemhopqa", "BENCHMARK"),
    "niilc": ("niilc", "BENCHMARK"),
    "jsquad": ("jsquad", "BENCHMARK"),
    "xlsum_ja": ("xlsum_ja", "BENCHMARK"),
    "mgsm_ja": ("mgsm_ja", "BENCHMARK"),
    "wmt20_en_ja": ("wmt", "WMT20_EN_JA"),
    "wmt20_ja_en": ("wmt", "WMT20_JA_EN"),
    "wmt21_en_ja": ("wmt", "WMT21_EN_JA"),
    "wmt21_ja_en": ("wmt", "WMT21_JA_EN"),
    "wmt22_en_ja": ("wmt", "WMT22_EN_JA"),
    "wmt22_ja_en": ("wmt", "WMT22_JA_EN"),
    "jnli": ("jnli", "BENCHMARK"),
    "marc_ja": ("marc_ja", "BENCHMARK"),
    "xwinograd_ja": ("xwinograd", "XWINOGRAD_JA"),
    "openbookqa": ("openbookqa", "BENCHMARK"),
    "triviaqa": ("triviaqa", "TRIVIAQA"),
    "triviaqa_3000": ("triviaqa", "TRIVIAQA_3000"),
    "hellaswag": ("hellaswag", "BENCHMARK"),
    "squad2": ("squad2", "BENCHMARK"),
    "xwinograd_en": ("xwinograd", "XWINOGRAD_EN"),
    "gsm8k": ("gsm8k", "BENCHMARK"),
}


def load_benchmark(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        ValueError: there is none; the message lists them.
    """
    if name not in MODULES:
        raise ValueError(f"no benchmark is called {name}; there are {', '.join(MODULES)}")
    module, attribute = MODULES[name]
    found: Benchmark = getattr(import_module(f"tasks.evaluate.suite.{module}"), attribute)
    return found
