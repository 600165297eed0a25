"""Links and pictures within a built site: ``python tools/check_site.py docs/_build/html``."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and where links to it may end."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note its links and its name."""
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        self.links |= {value for name in ("href", "src") if (value := given.get(name))}


def broken(site: Path) -> list[str]:
    """The links of all pages that lead nowhere within the site, each with its page."""
    pages = {
        path.resolve(): Page(path)
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }
    found = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fragment = unquote(parts.fragment)
            has_end = not fragment or target not in pages or fragment in pages[target].anchors
            if not target.exists() or not has_end:
                found.append(f"{path.relative_to(site.resolve())}: {link}")
    if not pages:
        found.append(f"{site} has no pages")
    return found


if __name__ == "__main__":
    links = broken(Path(sys.argv[1]))
    print("\n".join(links) or "every link within the site leads somewhere")
    sys.exit(bool(links))
