"""What the site needs beside the documents of this folder: the README as its first page, and the changes."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds both as pages, with their links as seen from this folder."""
    for page, source in {"index.md": "README.md", "changes.md": "CHANGELOG.md"}.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = text.replace("](docs/", "](").replace("](CHANGELOG.md)", "](changes.md)")
        files.append(File.generated(config, page, content=text))
    return files
