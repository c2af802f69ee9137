"""Code blocks of Markdown pages, and how one page is run from its first block to its last."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack, chdir
from dataclasses import dataclass, field
from pathlib import Path

from _commands import isthmus

#: The languages of a block: what is run, text, which is output or a diagram, and directives of the
#: site.
LANGUAGES = ("python", "shell", "text", "{eval-rst}", "{toctree}")
#: Where the pages have the service; tests take a free port.
ADDRESSES = ("http://127.0.0.1:8000", "http://localhost:8000")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    code: str

    @property
    def runs(self):
        """Whether it is code, and neither text nor a directive of the site."""
        return self.language in ("python", "shell")

    @property
    def commands(self):
        """The commands of a shell block, without comments and continuations."""
        joined = self.code.replace("\\\n", " ").splitlines()
        lines = [re.sub(r"(^|\s)#\s.*", "", line) for line in joined]
        return [" ".join(line.split()) for line in lines if line.strip()]


def blocks_of(path):
    """Return the blocks of a page, in order."""
    lines, found, begun = path.read_text(encoding="utf-8").splitlines(), [], None
    for number, line in enumerate(lines, 1):
        fence = re.fullmatch(r" *```([\w-]*|\{[\w-]+\})", line)
        if fence and begun is None:
            begun = number
            language = fence[1]
        elif fence:
            code = "\n".join(lines[begun : number - 1])
            found.append(Block(path.name, begun, language, code))
            begun = None
    return found


@dataclass
class Page:
    """A page that is run in one folder: its names of Python, and the service that it started."""

    folder: Path
    excepted: dict = field(default_factory=dict)
    names: dict = field(default_factory=lambda: {"__name__": "__main__"})
    address: str | None = None

    def __post_init__(self):
        self.n_run, self.skipped, self.printed, self.closing = 0, [], [], ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing.close()

    def run(self, block):
        """Run a block as it is pasted; the lines that are excepted are noted."""
        if block.language == "python":
            # Filled up, so that a traceback has the line of the page.
            lines = "\n" * block.line + self.served(block.code)
            with chdir(self.folder):
                exec(compile(lines, block.page, "exec"), self.names)
            self.n_run += 1
        elif block.language == "shell":
            commands = block.commands
            excepted = [c for c in commands if any(c.startswith(p) for p in self.excepted)]
            self.skipped += excepted
            for command in commands:
                if command not in excepted:
                    self.run_command(command, f"{block.page}:{block.line}")
            self.n_run += len(excepted) < len(commands)

    def served(self, text):
        """Return text with the address of the service that runs."""
        for address in ADDRESSES if self.address else ():
            text = text.replace(address, self.address)
        return text

    def run_command(self, command, where):
        """Run one command of a shell block."""
        program, *words = shlex.split(self.served(command))
        if program == "isthmus" and words[0] == "serve":
            self.serve(words)
        elif program == "isthmus":
            done = isthmus(*words, cwd=self.folder, check=False)
            # 3 of isthmus monitor: done, and the promise no longer holds.
            fine = (0, 3) if words[0] == "monitor" else (0,)
            assert done.returncode in fine, f"{where}: {command}\n{done.stdout}\n{done.stderr}"
            self.printed.append(done.stdout)
        else:
            program = sys.executable if program == "python" else shutil.which(program)
            assert program, f"{where}: there is no {command}"
            words = ["--fail-with-body", "-sS", *words] if program.endswith("curl") else words
            self.spawn([program, *words], f"{where}: {command}")

    def spawn(self, words, where):
        """Run a program in the page's folder."""
        done = subprocess.run(
            words, cwd=self.folder, env=os.environ, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{where}\n{done.stdout}\n{done.stderr}"

    def serve(self, words):
        """Start a service that runs until the page is done."""
        service = subprocess.Popen(
            [sys.executable, "-m", "isthmus", *words, "--port", "0"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.closing.callback(service.communicate)
        self.closing.callback(service.terminate)
        self.address = service.stdout.readline().split()[2].rstrip(",")
