"""What is published for people to read: the README and the pages beside it."""

from pathlib import Path

NAMES = ("models.md", "ci.md", "own.md", "numbers.md", "CONTRIBUTING.md")
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in sorted((ROOT / ".github").glob("*.md")) if path.name in NAMES}
ALL = "\n".join([README, *PAGES.values()])
FLOWING = " ".join(ALL.split())  # without line breaks
