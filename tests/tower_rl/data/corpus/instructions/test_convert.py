"""Tables of pairs to tables of chats and texts."""

from collections import Counter

import pyarrow as pa
import pytest

from tower_rl.config.corpora import ParallelTasks
from tower_rl.data.corpus.instructions.convert import as_text, realised_shares, task_counts, to_instructions
from tower_rl.data.corpus.instructions.glossary import build_glossary
from tower_rl.data.corpus.instructions.tasks import TASKS
from tower_rl.data.corpus.records import RECORDS
from tower_rl.data.rows import DataError

ALL = ParallelTasks(tasks=dict.fromkeys(TASKS, 1.0))


def by_language(chats):
    return Counter(chats["language"].to_pylist())


def test_a_chat_of_a_pair(table):
    pair = table([{"id": "c/7", "original": " Open the file\n", "translation": "Datei öffnen", "document": "d", "position": 3}])
    chat = to_instructions(pair, ParallelTasks(directions="forward"), 0, {}).to_pylist()[0]
    user, assistant = chat.pop("messages")
    expected = pair.to_pylist()[0] | {"id": "c/7#translate", "kind": "chat", "original": "", "translation": ""}
    del expected["messages"]
    assert chat == expected
    assert assistant == {"role": "assistant", "content": "Datei öffnen"}
    assert user["role"] == "user" and "Open the file" in user["content"]


def test_other_rows_stay_and_order_is_kept(table):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = table(
        [
            {"id": "c/1", "kind": "text", "language": "de", "text": "Ein Text."},
            {"id": "c/2", "original": "One file", "translation": "Eine Datei"},
            {"id": "c/3", "kind": "chat", "messages": messages},
            {"id": "c/4", "original": "x", "translation": "y", "dropped": "cleaning: short", "detail": "1"},
            {"id": "c/5", "original": "Two files", "translation": "Zwei Dateien"},
        ]
    )
    done = to_instructions(rows, ParallelTasks(), 0, {})
    assert done.schema.equals(RECORDS)
    assert done["id"].to_pylist() == ["c/1", "c/2#translate", "c/3", "c/4", "c/5#translate"]
    for place in (0, 2, 3):
        assert done.slice(place, 1).to_pylist() == rows.slice(place, 1).to_pylist()
    assert to_instructions(rows.slice(0, 0), ParallelTasks(), 0, {}).num_rows == 0


@pytest.mark.parametrize(
    "language, reason",
    [
        ("en-tlh", "unknown language"),
        ("en-zh", "unknown language"),
        ("de", "unknown language"),
        ("zh_CN-zh_Hans", "one language"),
    ],
)
def test_pairs_that_cannot_be_named_are_dropped(table, language, reason):
    rows = table([{"language": language, "original": "One file", "translation": "wa' teywI'"}])
    assert to_instructions(rows, ParallelTasks(), 0, {}).to_pylist() == [
        rows.to_pylist()[0] | {"dropped": f"instructions: {reason}", "detail": language}
    ]


def test_directions(catalogues):
    forward = to_instructions(catalogues, ParallelTasks(directions="forward"), 0, {})
    backward = to_instructions(catalogues, ParallelTasks(directions="backward"), 0, {})
    both = to_instructions(catalogues, ParallelTasks(directions="both"), 0, {})
    assert all(language.startswith("en-") for language in by_language(forward))
    assert all(language.endswith("-en") for language in by_language(backward))
    counts = by_language(both)
    for language in ("de", "pt_BR", "ja"):
        there, back = counts[f"en-{language}"], counts[f"{language}-en"]
        assert abs(there - back) < 4 * (there + back) ** 0.5


def test_the_same_in_every_run_and_for_any_split(catalogues):
    catalogues = catalogues.take(pa.array(range(0, catalogues.num_rows, 3)))
    glossary = build_glossary(catalogues)
    whole = to_instructions(catalogues, ALL, 3, glossary)
    pieces = [to_instructions(catalogues.slice(start, 701), ALL, 3, glossary) for start in range(0, catalogues.num_rows, 701)]
    assert pa.concat_tables(pieces).equals(whole)
    backwards = catalogues.take(pa.array(range(catalogues.num_rows - 1, -1, -1)))
    assert to_instructions(backwards, ALL, 3, glossary).sort_by("id").equals(whole.sort_by("id"))
    other = to_instructions(catalogues, ALL, 4, glossary)
    assert other["messages"] != whole["messages"]


def test_every_pair_of_the_catalogues_becomes_a_chat_that_wants_a_text_of_the_pair(catalogues):
    done = to_instructions(catalogues, ParallelTasks(), 0, {})
    for row, chat in zip(catalogues.to_pylist(), done.to_pylist(), strict=True):
        texts = row["original"].strip(), row["translation"].strip()
        source, translation = texts if chat["language"].startswith("en-") else texts[::-1]
        assert chat["kind"] == "chat" and chat["dropped"] == ""
        assert source in chat["messages"][0]["content"] and chat["messages"][1]["content"] == translation


def test_shares_are_those_asked_for(table):
    """Rows that can carry every task: four words and more, a term of the glossary, an address of the reader."""
    long = [
        {
            "id": f"c/{n}",
            "original": f"Please open your file number {n}",
            "translation": f"Bitte öffnen Sie Ihre Datei Nummer {n}",
        }
        for n in range(5000)
    ]
    rows = table([*long, {"id": "c/term", "original": "File", "translation": "Datei"}])
    weights = {"translate": 5.0, "post_edit": 1.0, "error_spans": 1.0, "choose_better": 1.0, "terminology": 1.0, "formality": 1.0}
    tasks = ParallelTasks(directions="forward", tasks=weights)
    done = to_instructions(rows, tasks, 0, build_glossary(rows))
    shares = realised_shares(done)
    assert set(shares) == set(weights)
    for task, weight in weights.items():
        assert shares[task] == pytest.approx(weight / 10, abs=0.02)
    halves = task_counts(done.slice(0, 2000)) + task_counts(done.slice(2000))
    assert halves == task_counts(done) and halves.total() == 5001


def test_what_cannot_be_carried_is_translated_and_counted(table):
    rows = table([{"id": f"c/{n}", "original": f"File {n}", "translation": f"Datei {n}"} for n in range(50)])
    assert realised_shares(to_instructions(rows, ParallelTasks(tasks={"formality": 1.0}), 0, {})) == {"translate": 1.0}
    assert realised_shares(rows) == {}


def test_an_unknown_task_is_refused(table):
    with pytest.raises(DataError, match="'summarise' is none of translate, post_edit"):
        to_instructions(table([{}]), ParallelTasks(tasks={"summarise": 1.0}), 0, {})
    with pytest.raises(DataError, match="none is asked for"):
        to_instructions(table([{}]), ParallelTasks(tasks={}), 0, {})


def test_chats_as_texts(table):
    card = [
        {"role": "user", "content": "Translate:\nEnglish: Hi\nGerman: "},
        {"role": "assistant", "content": "Hallo"},
    ]
    chat = [{"role": role, "content": text} for role, text in (("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"))]
    rows = table(
        [
            {"id": "c/1#translate", "kind": "chat", "messages": card},
            {"id": "c/2", "kind": "chat", "messages": chat},
            {"id": "c/3", "kind": "chat", "messages": chat, "dropped": "x: y"},
            {"id": "c/4", "original": "a", "translation": "b"},
        ]
    )
    texts = as_text(rows)
    assert texts.schema.equals(RECORDS)
    assert texts["text"].to_pylist() == ["Translate:\nEnglish: Hi\nGerman: Hallo", "Be kind.\n\nHi\n\nHello", "", ""]
    assert texts["kind"].to_pylist() == ["text", "text", "chat", "pair"]
    assert texts["messages"].to_pylist()[:2] == [[], []]
    assert texts.slice(2).equals(rows.slice(2))
    assert task_counts(texts) == {"translate": 1}
