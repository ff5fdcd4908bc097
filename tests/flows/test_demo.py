"""What the demo sets on top of its run file: where the inputs lie, and no licence for pages that are not its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import RunConfig, load_run
from flows.demo import RUN_FILE, _settings
from flows.demo_inputs import DemoInputs


def run_with(warcs: list[str]) -> RunConfig:
    inputs = DemoInputs("here/warc/*.warc.gz", Path("here/web-en.jsonl.gz"), Path("here/model"))
    return load_run(RUN_FILE, _settings(Path("here"), inputs, warcs))


def test_its_inputs_are_where_they_were_prepared_and_their_licences_are_stated() -> None:
    run = run_with([])
    assert run.curate.sources == ["here/warc/*.warc.gz"]
    assert [source.documents for source in run.sources] == [None, ["here/web-en.jsonl.gz"]]
    assert run.weights == {"corpus": 0.9, "web-en": 0.1}
    assert "CC-BY-SA-3.0" in (run.curate.licence or "")
    assert "CC-BY-SA-3.0" in (run.sources[1].licence or "")
    assert "Apache-2.0" in (run.initialize.licence or "")


@pytest.mark.parametrize("field", ["licence", "attribution"])
def test_nothing_is_said_of_the_licence_of_pages_the_user_brings(field: str) -> None:
    run = run_with(["theirs/*.warc.gz"])
    assert run.curate.sources == ["theirs/*.warc.gz"]
    assert getattr(run.curate, field) is None
    assert getattr(run.sources[1], field) is None
