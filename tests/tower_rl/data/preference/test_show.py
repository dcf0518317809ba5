"""What the command prints of a file of pairs."""

from dataclasses import replace
from pathlib import Path

import pytest
from preference_rows import pair

from tower_rl.data.preference.show import main
from tower_rl.data.preference.table import write_pairs


def test_pairs_and_what_all_are_like(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loud = pair("s/1", chosen=5, origins=("post_edit", "policy@2"))
    loud = replace(loud, rejected=replace(loud.rejected, text="n\x1b[2Jo", reason="wrong language"))
    write_pairs(tmp_path / "p.parquet", [loud, pair("s/2", score=None, language_pair=None), pair("s/3")], 0)
    assert main([str(tmp_path / "p.parquet"), "--rows", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "s/1  en-de  +2 tokens  score +1\nuser: Say it.\nchosen by post_edit; 5 tokens; v 1\nyes\n"
        "rejected by policy@2; 3 tokens; v 0; wrong language\nn␛[2Jo\n\n"
        "s/2  +0 tokens\nuser: Say it.\nchosen by policy@0; 3 tokens\nyes\n"
    )
    assert "s/3" not in out and "\x1b[2J" not in out
    assert "\npairs: 3\nchosen_longer: 0.333333\n" in out
    assert out.endswith("chosen_origins: 2 policy@0, 1 post_edit\nrejected_origins: 2 policy@0, 1 policy@2\n")


def test_a_file_without_pairs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "p.parquet")]) == 2
    assert "p.parquet holds no pairs" in capsys.readouterr().err
    write_pairs(tmp_path / "p.parquet", [], 0)
    assert main([str(tmp_path / "p.parquet")]) == 0
    assert "pairs: 0" in capsys.readouterr().out
