"""What Great Expectations is told before its import: it calls nobody and draws no bars."""

import os


def quieten() -> None:
    """Set what the library reads at import; a value that is already set stays."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
