"""Build the documentation's site, and let no warning pass.

    python tools/site/build.py [FOLDER]

It needs what requirements.txt beside it names, and neither torch nor the network. ``make docs`` does it all.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import jieba
from api_pages import write_api
from chinese import slug
from llms import write_llms
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.utils import CountHandler
from navigation import navigation, translations
from pages import ROOT, Pages

_NO_ADDRESSES = '<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"/>'
HERE = Path(__file__).parent


def made(site: Path) -> None:
    """Build the site into a folder."""
    with tempfile.TemporaryDirectory() as temporary:
        pages = Pages(Path(temporary).resolve() / "pages")
        pages.gather()
        api = write_api(pages)
        config = load_config(
            str(HERE / "mkdocs.yml"),
            docs_dir=str(pages.folder),
            site_dir=str(site.resolve()),
            nav=navigation(pages.folder, api),
            strict=True,
        )
        _translate(config)
        # The words of Chinese: quietly, and with nothing left in the machine's folder for such things.
        jieba.setLogLevel(logging.WARNING)
        jieba.dt.tmp_dir = temporary
        config.plugins.events["files"].insert(0, _forget_the_first_language)
        config["mdx_configs"]["toc"]["slugify"] = slug
        build(config)
        write_llms(pages.folder, site)
        # The theme asks for a map beside each page. It would hold addresses, and the site knows none.
        (site / "sitemap.xml.gz").unlink()
        for folder in {page.parent for page in site.rglob("*.html")}:
            (folder / "sitemap.xml").write_text(_NO_ADDRESSES, encoding="utf-8")


def _forget_the_first_language(files: Any, config: Any) -> Any:
    """The second language has pages of its own for every name: these are no second homes."""
    references = config.plugins["autorefs"]
    references._primary_url_map.clear()
    references._secondary_url_map.clear()
    return files


def _translate(config: Any) -> None:
    for language in config.plugins["i18n"].config.languages:
        if language.locale == "zh":
            language.nav_translations = translations()


def main() -> None:
    """Build it where the first argument says, else into site/."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    counted = CountHandler()
    counted.setLevel(logging.WARNING)
    logging.getLogger().addHandler(counted)
    site = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"
    shutil.rmtree(site, ignore_errors=True)
    made(site)
    # mkdocs counts its own; here whoever warns stops it.
    if counts := counted.get_counts():
        sys.exit(f"{counts}: no site")
    print(f"{site}: {sum(1 for _ in site.rglob('*.html'))} pages")


if __name__ == "__main__":
    main()
