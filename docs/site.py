"""Hooks of mkdocs.yml: README.md is the site's first page, and the decisions have a list."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]


def on_files(files: Any, config: Any) -> Any:
    """Add the two pages that are made."""
    readme = (ROOT / "README.md").read_text().replace("](docs/", "](")
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    listed = [f"- [{path.name[:3]}]({path.name}) {_title(path)}" for path in decisions]
    made = {"index.md": readme, "decisions/index.md": "\n".join(["# Decisions", "", *listed, ""])}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """A link to the folder is one to its list."""
    return markdown.replace("](decisions/)", "](decisions/index.md)")


def _title(path: Path) -> str:
    first = path.read_text().splitlines()[0]
    return first.lstrip("# ").lstrip("0123456789").lstrip(":. ")
