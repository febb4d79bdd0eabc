"""docs/operations.md says of every setting what the code says."""

from pathlib import Path

from lifecycle.setting import Setting
from mcp_server.cli.commands.config import shown
from mcp_server.setting_values import NOT_ABOVE
from mcp_server.settings import ALL

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"


def row(each: Setting) -> str:
    return f"| `{each.name}` | {shown(each.default)} | {each.unit} | {each.range} | {each.meaning} |"


def test_the_table_of_settings_is_that_of_the_code() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    begin = lines.index("| setting | default | unit | range | meaning |") + 2
    table = lines[begin : lines.index("", begin)]
    assert table == [row(each) for each in ALL.values()], "write the rows as this comparison shows them"


def test_what_belongs_together_is_said() -> None:
    (said,) = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("These belong together: ")]
    pairs = [tuple(name for name in part.split("`") if name in ALL) for part in said.split(",")]
    assert pairs == list(NOT_ABOVE)
