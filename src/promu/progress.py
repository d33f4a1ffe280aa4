"""Progress of long work: whoever runs a stage says how far it is, whoever shows it listens."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Is told (stage, done, total)."""
