"""Reading and running the blocks of a page, on pages made here."""

import os
from pathlib import Path

import pytest

from tests.docs.blocks import Block, BlockError, read_blocks, run_block

PAGE = """# Title

```sh
echo one > made.txt
```

Prose, `inline`.

```python
print(open("made.txt").read())
```

<!-- docs: skip needs a phone -->
```sh
adb shell
```

```swift
let tracker = try Tracker()
```
"""


def test_blocks_are_read_in_order_with_language_line_and_skip():
    assert read_blocks(PAGE) == (
        Block("sh", "echo one > made.txt\n", 3),
        Block("python", 'print(open("made.txt").read())\n', 9),
        Block("sh", "adb shell\n", 14, skip="needs a phone"),
    )


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<!-- docs: skip -->\n```sh\nls\n```\n", "line 1: expected <!-- docs: skip REASON -->"),
        ("<!-- docs: ignore me -->\n```sh\nls\n```\n", "line 1: expected <!-- docs: skip REASON -->"),
        ("<!-- docs: skip why -->\nText\n```sh\nls\n```\n", "line 2: expected a fence after a skip"),
        ("<!-- docs: skip why -->\n```swift\nlet a = 1\n```\n", "line 2: a block in swift is not run"),
        ("<!-- docs: skip why -->\n", "ends after a skip"),
        ("```bash\nls\n```\n", "line 1: expected sh or python, got bash"),
        ("Text\n\n```sh\nls\n", "line 3: this fence is not closed"),
    ],
)
def test_page_that_hides_a_block_is_refused(page: str, message: str):
    with pytest.raises(BlockError, match=message):
        read_blocks(page)


def test_later_block_sees_what_an_earlier_one_wrote(tmp_path: Path):
    first, second, _ = read_blocks(PAGE)

    run_block(first, tmp_path)

    assert run_block(second, tmp_path) == "one\n\n"


@pytest.mark.parametrize(
    "code", ["false\necho reached\n", "false | cat\necho reached\n", "echo $UNSET_HERE\necho reached\n"]
)
def test_shell_block_stops_at_its_first_failure(code: str, tmp_path: Path):
    with pytest.raises(BlockError, match="line 7: exit status 1") as caught:
        run_block(Block("sh", code, 7), tmp_path)

    assert "\nreached" not in str(caught.value).partition(code)[2]


def test_failing_python_block_shows_its_traceback(tmp_path: Path):
    with pytest.raises(BlockError, match=r"(?s)line 2: exit status 1.*ZeroDivisionError"):
        run_block(Block("python", "1 / 0\n", 2), tmp_path)


def test_block_gets_the_environment_that_is_passed(tmp_path: Path):
    environment = {**os.environ, "GREETING": "hello"}

    assert run_block(
        Block("sh", "echo $GREETING; read -r line || echo no terminal\n", 1), tmp_path, environment=environment
    ) == ("hello\nno terminal\n")
