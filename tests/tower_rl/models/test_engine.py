"""The start of a rank."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_rank_starts_without_compiling_anything(tmp_path: Path) -> None:
    """What torch compiles at start it guards with a file that a killed process leaves behind; the next would wait for ever."""
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
    env = os.environ | rendezvous | {"DS_ACCELERATOR": "cpu", "TORCH_EXTENSIONS_DIR": str(tmp_path)}
    program = "from tower_rl.models.engine import join; import torch.distributed as d; join(0); print(d.get_world_size())"
    result = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.split()[-1:] == ["1"], result.stderr[-2000:]
    assert not list(tmp_path.iterdir())
