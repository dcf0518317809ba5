"""The resolved configuration as YAML, secrets redacted."""

import io
import re
import sys
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from tower_rl.config.schema import Config

REDACTED = "***"
_SECRET = re.compile(r"password|secret|api[-_]?key", re.IGNORECASE)


class _Representer(SafeRepresenter):
    """Writes text with line breaks or control characters in double quotes: ruamel loses some of them in other styles."""

    def text(self, text: str) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Representer.add_representer(str, _Representer.text)


def dump(config: Config) -> str:
    """YAML with every key, defaults included, that `load` reads back as an equal Config.

    Not equal where `options` hold secrets: what stands under a key with token, password, secret or api_key in its name is
    written as `***`.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.width = sys.maxsize
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None, its default
    text = io.StringIO()
    yaml.dump(_redact(config.model_dump(), in_options=False), text)
    return text.getvalue()


def _redact(value: Any, in_options: bool) -> Any:
    if isinstance(value, dict):
        return {
            key: REDACTED if in_options and _is_secret(key, child) else _redact(child, in_options or key == "options")
            for key, child in value.items()
        }
    return [_redact(child, in_options) for child in value] if isinstance(value, (list, tuple)) else value


def _is_secret(key: str, value: Any) -> bool:
    # a number under a key like max_tokens is a limit
    is_token = "token" in key.lower() and not isinstance(value, (int, float))
    return value is not None and (is_token or bool(_SECRET.search(key)))
