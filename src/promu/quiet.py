"""The one place where other libraries' own talk is switched off, for the command line alone.

Who uses promu from Python keeps what the libraries say, and decides.
"""

from __future__ import annotations

import logging
import os
import warnings

# Loggers of libraries that report each step of what they do at the level of warnings.
_TALKERS = ("accelerate", "huggingface_hub", "PIL", "torch", "torchao")


def quiet() -> None:
    """Let transformers and its kin speak of errors only, and draw no bars of their own. Imports torch with them."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch  # noqa: F401  (sets its loggers' levels as it is imported)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in _TALKERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate|huggingface_hub)(\..*)?")
