"""A gateway for a fault test: that of the stack, but its circuit closes after CIRCUIT_OPEN_S."""

import os

import uvicorn

from serving.app import create_app
from serving.settings import Settings


def main() -> None:
    """Serve on PORT until told to stop."""
    app = create_app(Settings(), circuit_open_s=float(os.environ["CIRCUIT_OPEN_S"]))  # type: ignore[call-arg]
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False)


if __name__ == "__main__":
    main()
