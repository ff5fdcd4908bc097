"""Footers: the end of a page from the line on where it speaks of copyright, links and log-ins.

As in the released swallow-corpus code (`footer.py`): among the last lines, the first of whose characters keywords
cover more than a threshold, and all after it, are cut. Keywords are taken out of a line from the longest on, so
that none counts inside another. Keywords are named in the run file; `data/footer_keywords.txt` is ours.

    Footer(FooterConfig()).cut("本文です。\\nお問い合わせ")  # ("本文です。", 1)
"""

from __future__ import annotations

import re

from tasks.refine.config import FooterConfig
from tasks.refine.lists import FOOTER_KEYWORDS, list_files, read_entries


class Footer:
    """Cuts footers.

    Raises:
        FileNotFoundError, ValueError: a list is missing or unreadable.
    """

    def __init__(self, config: FooterConfig) -> None:
        keywords = {entry for file in list_files(config.files, FOOTER_KEYWORDS) for entry in read_entries(file)}
        self._keywords = sorted(keywords, key=lambda word: (-len(word), word))
        self._any_keyword = re.compile("|".join(map(re.escape, self._keywords)) or "(?!)")
        self._num_lines = config.num_lines
        self._max_ratio = config.max_keyword_ratio

    def cut(self, text: str) -> tuple[str, int]:
        """The text without its footer, and how many lines that had."""
        lines = text.split("\n")
        for number in range(max(0, len(lines) - self._num_lines), len(lines)):
            if self._is_footer(lines[number]):
                return "\n".join(lines[:number]), len(lines) - number
        return text, 0

    def _is_footer(self, line: str) -> bool:
        if not self._any_keyword.search(line):
            return False
        rest = line
        for keyword in self._keywords:
            rest = rest.replace(keyword, "")
        return (len(line) - len(rest)) / len(line) > self._max_ratio
