"""The run file's sources."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from pydantic import ValidationError

from storage.sources import SourceLayout
from tasks.binarize.config import READING, BinarizeConfig, SourceConfig


def test_a_run_file_as_documented() -> None:
    corpus = SourceConfig(name="corpus", language="ja", weight=0.9)
    web = SourceConfig(name="web-en", language="en", weight=0.1, documents=["../shared/data/text/en.jsonl.gz"])
    assert (corpus.documents, web.weight) == (None, 0.1)
    assert 0 < BinarizeConfig().validation_ratio < 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "corpus", "documents": ["a.jsonl"]}, "'corpus' is what this run curates"),
        ({"name": "web"}, "'web' needs `documents`"),
        ({"name": "web", "documents": []}, "at least 1 item"),
        ({"name": "../web", "documents": ["a"]}, "match pattern"),
        ({"name": "web", "documents": ["a"], "weight": 0}, "greater than 0"),
        ({"name": "web", "documents": ["a"], "weight": float("nan")}, "finite number|greater than 0"),
        ({"name": "web", "documents": ["a"], "language": "Japanese"}, "match pattern"),
        ({"name": "web", "documents": ["a"], "wieght": 1}, "Extra inputs"),
    ],
)
def test_mistakes_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SourceConfig(**{"language": "ja", "weight": 1.0, **values})


@pytest.mark.parametrize("ratio", [0, -0.1, 0.6])
def test_ratios_that_leave_nothing(ratio: float) -> None:
    with pytest.raises(ValidationError):
        BinarizeConfig(validation_ratio=ratio)


def test_how_a_source_is_read_is_what_differs_from_the_default() -> None:
    plain = source(documents=["a"])
    assert plain.reading == {}
    arxiv = source(documents=["a"], layout="pile", where={"meta.pile_set_name": "ArXiv"}, max_epochs=2)
    assert arxiv.reading == {"layout": "pile", "where": {"meta.pile_set_name": ["ArXiv"]}}
    parallel = source(documents=["a"], layout="parallel", fields={"ja": "4", "en": "3"}, language="mul")
    assert SourceLayout(**parallel.reading) == SourceLayout(layout="parallel", fields={"ja": "4", "en": "3"})


def test_the_fields_of_a_layout_are_those_of_the_reader_with_its_defaults() -> None:
    layout = SourceLayout()
    assert {field.name for field in fields(SourceLayout)} == READING
    everything = source(documents=["a"]).model_dump(mode="json", include=READING)
    assert everything == {name: getattr(layout, name) for name in READING}


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"layout": "csv"}, "'auto', 'jsonl'"),
        ({"layout": "jsonl", "template": "instruction"}, "template need `layout: parallel`"),
        ({"layout": "parallel", "text_field": "text"}, "no `text_field`"),
        ({"layout": "parallel", "fields": {"ja": "a"}}, "names the fields of ja and of en"),
        ({"where": {"set": []}}, "`where` names no value of set"),
        ({"where": {"set": {"a": 1}}}, "where.set"),
        ({"max_bad_record_ratio": 1.0}, "less than 1"),
        ({"max_epochs": 0}, "greater than 0"),
        ({"pairs_per_document": 0}, "greater than or equal to 1"),
        ({"id_field": ""}, "id_field"),
    ],
)
def test_a_way_of_reading_that_cannot_be_is_refused(reading: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        source(documents=["a"], **reading)


def test_the_corpus_is_read_in_one_way() -> None:
    with pytest.raises(ValidationError, match="'corpus' is what this run curates: remove layout"):
        source(name="corpus", layout="jsonl")


def source(**values: Any) -> SourceConfig:
    return SourceConfig(**{"name": "web", "language": "en", "weight": 1.0, **values})
