"""Random texts of everything that a model may write."""

from __future__ import annotations

import random

ALPHABETS = (
    "あいうえおかきくけこ空海山川雲雀鳴東京都大阪",
    "アイウーｱｲｳﾞﾟか\u3099は\u309aヴ々ヶ",
    "abc XYZ the an a 0123456789 -,.",
    "ＡＢＣａｂｃ０１２３\u3000！？（）－，．",
    "àéîßÿÀÑµªº²³¼¡«»\xa0\xad\x85×÷",
    "。、！？…—-_.,;:()[]「」・〜～~'\"&$¥",
    "😀🎉👩\u200d👧🇯🇵❤\ufe0f☀𠮷𝔄",
    "İıſßŸǅΣςﬁ㎡①㈱ﷺ\u0301\u0345ไทยहिन्दी",
    "\x00\ud83d\udc00\u200b\ufeff\u2028\x1c\x0b\n\t\r \u2212",
)


def random_text(generator: random.Random, alphabets: tuple[str, ...] = ALPHABETS) -> str:
    """Up to 60 characters of one to three alphabets, one in eight a space; often none."""
    chosen = generator.sample(alphabets, generator.choice((1, 2, 3)))
    length = generator.choice((0, 1, 2, 3, 5, 8, 13, 30, 60))
    return "".join(
        " " if generator.random() < 1 / 8 else generator.choice(generator.choice(chosen)) for _ in range(length)
    )


def random_pairs(seed: int, count: int, alphabets: tuple[str, ...] = ALPHABETS) -> list[tuple[str, str]]:
    """Pairs of texts, in half of them the second a copy of the first with a few characters changed."""
    generator = random.Random(seed)
    pairs = []
    for _ in range(count):
        first = random_text(generator, alphabets)
        second = random_text(generator, alphabets)
        if generator.random() < 1 / 2:
            second = "".join(
                generator.choice(generator.choice(alphabets)) if generator.random() < 1 / 5 else character
                for character in first
                if generator.random() > 1 / 10
            )
        pairs.append((first, second))
    return pairs
