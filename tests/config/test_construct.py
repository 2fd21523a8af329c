"""Construction from YAML: which targets may be named."""

from pathlib import Path

import pytest
from run_keys import run_key


def test_yaml_cannot_name_what_an_allowed_module_imported_from_elsewhere(cache: Path) -> None:
    with pytest.raises(ValueError, match="may not name"):
        run_key(cache, "replay._target_=odkd.common.files.os.system")
