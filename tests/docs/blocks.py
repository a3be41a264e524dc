"""The fenced blocks of a Markdown page that a reader would run, and a way to run them.

`sh` and `python` blocks are run. A block is left out only by `<!-- docs: skip REASON -->` on the line above its fence.
Blocks in other languages are shown, not run, but a shell block under another name is refused: it would rot unseen.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RUN = ("sh", "python")
SHELL_ALIASES = ("bash", "shell", "console", "zsh", "shell-session", "py", "python3", "pycon")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)\s*$")
SKIP = re.compile(r"^ *<!-- docs: skip (?P<reason>\S.*?) *-->\s*$")
DIRECTIVE = re.compile(r"^ *<!--\s*docs:")
TIMEOUT_S = 900


@dataclass(frozen=True)
class Block:
    """A block to run: its language (one of RUN), its text, the line of its fence and why it is skipped, if it is."""

    language: str
    code: str
    line: int
    skip: str | None = None


class BlockError(Exception):
    """A page cannot be read as blocks, or a block failed. The message begins with the line of the page."""


def read_blocks(markdown: str) -> tuple[Block, ...]:
    """The blocks in `sh` or `python`, in order.

    Raises BlockError for a skip without a reason or without a block, a shell block under another name and a fence that
    is not closed.
    """
    blocks: list[Block] = []
    language, opened_at, code = "", 0, list[str]()
    reason: str | None = None
    for number, line in enumerate(markdown.splitlines(), start=1):
        fence = FENCE.match(line)
        if opened_at and fence is None:
            code.append(line)
        elif opened_at:
            if language in RUN:
                blocks.append(Block(language, "\n".join(code) + "\n", opened_at, reason))
            elif reason is not None:
                raise BlockError(f"line {opened_at}: a block in {language or 'no language'} is not run; drop the skip")
            reason, opened_at = None, 0
        elif fence is not None:
            language, opened_at, code = fence["language"], number, []
            if language in SHELL_ALIASES:
                raise BlockError(f"line {number}: expected {' or '.join(RUN)}, got {language}; it would not be run")
        elif (skip := SKIP.match(line)) is not None:
            reason = skip["reason"]
        elif DIRECTIVE.match(line):
            raise BlockError(f"line {number}: expected <!-- docs: skip REASON -->, got {line.strip()}")
        elif reason is not None:
            raise BlockError(f"line {number}: expected a fence after a skip, got {line.strip()!r}")
    if opened_at:
        raise BlockError(f"line {opened_at}: this fence is not closed")
    if reason is not None:
        raise BlockError("the page ends after a skip: expected a fence")
    return tuple(blocks)


def run_block(block: Block, folder: Path, *, environment: Mapping[str, str] = os.environ) -> str:
    """What the block prints (stdout and stderr) when it runs in `folder` with no terminal.

    A shell block stops at its first failing command. Raises BlockError with the output if it fails.
    """
    command = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
    try:
        result = subprocess.run(
            [*command, block.code],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise BlockError(f"line {block.line}: still running after {TIMEOUT_S} s:\n{block.code}") from None
    if result.returncode != 0:
        raise BlockError(f"line {block.line}: exit status {result.returncode}:\n{block.code}\n{result.stdout[-8000:]}")
    return result.stdout
