"""docs/config.md is current, and every key is described."""

from pathlib import Path

import pytest

from tower_rl.config.document import document, sections
from tower_rl.config.schema import Section

PAGE = Path(__file__).parents[3] / "docs" / "config.md"


def all_sections(base: type[Section] = Section) -> list[type[Section]]:
    return [found for section in base.__subclasses__() for found in (section, *all_sections(section))]


def test_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "run: python -m tower_rl.config.document > docs/config.md"


def test_every_section_of_the_schema_is_on_the_page() -> None:
    bases = {section for section in all_sections() if section.__subclasses__()}  # their keys stand with those that have them
    assert {section for _, section in sections()} == set(all_sections()) - bases


@pytest.mark.parametrize("section", all_sections(), ids=lambda section: section.__name__)
def test_every_key_is_described(section: type[Section]) -> None:
    assert "__doc__" in vars(section) and section.__doc__
    assert [name for name, field in section.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    "row",
    [
        "| `seed` | whole number | `0` | >= 0 | Seed of the data order, of sampling and of training. |",
        "| `weights` | mapping: name to number | `{}` | each > 0 |",
        "| `system_prompt` | text or null | `null` |  |",
        "| `dtype` | choice | `auto` | `auto`, `bfloat16`, `float32` |",
        "| `betas` | list of number | `[0.9, 0.999]` | each >= 0, <= 1 |",
        "| `gates` | list of text | `[]` |  |",
        "| `mismatch` | mapping | its defaults |  |",
        '| `instruction` | text | `""` |  |',
        "| `path` | text | **required** | not empty |",
    ],
)
def test_rows(row: str) -> None:
    assert any(line.startswith(row) for line in document().splitlines())


def test_titles_are_key_paths() -> None:
    titles = [line.removeprefix("## ") for line in document().splitlines() if line.startswith("## ")]
    assert {
        "run",
        "data.sources.NAME (jsonl)",
        "verifiers.NAME (composite)",
        "stages.N (sft)",
        "stages.N (rlvr).mismatch",
    } <= set(titles)
