"""What a process that runs stages sets before libraries are imported, the command line and workers alike."""

from __future__ import annotations

import logging
import os


def prepare_process() -> None:
    """Settings that libraries read from the environment when they are imported; what the user has set stands."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # OpenMP threads that spin while they wait make two processes on two cores many times slower than one
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # peft imports it where it is installed: it warns of a kernel that it does not find, and of each product in 8 bits
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
