"""Metrics of single answers, and the counts that metrics of a whole corpus are computed from.

In: a prediction and what it is compared with. Out: a share between 0 and 1, or columns for `tasks.evaluate.metric`:
n-gram counts for BLEU, one column per class for balanced accuracy. Everything is a pure function of its texts, works on
any string (empty, half a surrogate pair, NUL, 100 kB), and imports the slow libraries (MeCab, nagisa, sacrebleu) when
it is first called.

What a function of the profile `swallow-2023` does is what the authors' programs did; its docstring says where that
differs from what its name promises.
"""
