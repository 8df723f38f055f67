"""A process that runs commands of selfwise in forks of itself, and kills them at an event of files.

As a script it reads one job per line, as JSON, and answers with one line each. A fork starts within
milliseconds, since everything is imported before.

A job has `args` of the command, `folder` to run in, `output` for what it prints, and `kill_at`: the
number of the event at which SIGKILL ends it, or 0. Events are files opened for writing, and names
that are made, changed or removed, in `folder`. The answer has the exit `code` (-9 after a kill) and
the number of `events`.
"""

import json
import os
import signal
import sys
from pathlib import Path

NAMES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
WRITING = os.O_WRONLY | os.O_RDWR


class KillAt:
    """An audit hook that counts events in a folder, and kills the process at one of them."""

    def __init__(self, folder: Path, number: int):
        self.folder, self.number, self.count = str(folder), number, 0

    def __call__(self, event: str, args: tuple) -> None:
        if event == "open":
            path, _, flags = args
            if not isinstance(flags, int) or not flags & WRITING:
                return
        elif event in NAMES:
            path = args[0]
        else:
            return
        if not isinstance(path, str | os.PathLike):
            return
        if os.path.abspath(path).startswith(self.folder):
            self.count += 1
            if self.count == self.number:
                os.kill(os.getpid(), signal.SIGKILL)


def run_job(job: dict) -> dict:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run_command(job, writing)
    os.close(writing)
    with os.fdopen(reading) as answer:
        events = answer.read()
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "events": int(events or 0)}


def _run_command(job: dict, writing: int) -> None:
    from selfwise.cli import main as cli

    folder = Path(job["folder"])
    os.chdir(folder)
    os.environ["SELFWISE_CACHE"] = str(folder / "cache")
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    hook = KillAt(folder, job["kill_at"])
    sys.addaudithook(hook)
    code = cli.main(job["args"])
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(writing, str(hook.count).encode())
    os._exit(code)


def main() -> None:
    import selfwise.testing  # noqa: F401  the package with most of what it needs
    from selfwise import commands

    for command in commands.import_commands().values():
        command.load_function()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run_job(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
