# The annotations of transformers mislead: models lose their methods' types, lazy exports count as private. So it is untyped here.
from typing import Any

def __getattr__(name: str) -> Any: ...
