"""Start one part: `python -m millrace.stack.launch FILE`, run by the supervisor.

Ends what a killed predecessor left behind, records this process, drops to the part's user and
becomes the part's command. Process id and start time stay the same through all of it, so the
record is right after every restart, with or without the supervisor alive.
"""

import json
import os
import pwd
import sys
from pathlib import Path

from millrace.stack import processes


def main() -> None:
    """Become the command that the file describes."""
    launch = json.loads(Path(sys.argv[1]).read_text())
    record = Path(launch["record"])
    processes.end_group(record)
    processes.write_record(record, os.getpid())
    if launch["user"]:
        user = pwd.getpwnam(launch["user"])
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    os.chdir(launch["folder"])
    environment = {**os.environ, **launch["environment"]}
    os.execvpe(launch["command"][0], launch["command"], environment)  # noqa: S606


if __name__ == "__main__":
    main()
