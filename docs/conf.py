"""How Sphinx builds the site; ``python3 -m nox -s docs``."""

import os
import re
import runpy
import shutil
from pathlib import Path

import isotherm

HERE = Path(__file__).parent
PICTURES = HERE / "_build/pictures"  # where the gallery's examples are told to draw

project = "Isotherm"
author = "The Isotherm authors"
copyright = author  # noqa: A001  # Sphinx asks for this name
version = release = isotherm.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "inventories"]
suppress_warnings = ["config.cache"]  # functions in the gallery's configuration
default_role = "py:obj"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

# Names of our own and of the libraries that docstrings speak of. The inventories are carried, so
# that the site builds without a network; tools/small_inventories.py makes them.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3/", "inventories/python.inv"),
}

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings tell the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "Isotherm"
html_static_path = ["_static"]
html_css_files = ["isotherm.css"]
html_show_sourcelink = False
html_sidebars = {"*": []}  # pages of the first level have no pages under them
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 4,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def scrape_pictures(block, block_vars, gallery_conf):
    """The pictures that an example wrote to the folder that it was given."""
    from sphinx_gallery.scrapers import figure_rst

    made = []
    for path in sorted(PICTURES.glob("*.png")):
        target = next(block_vars["image_path_iterator"])
        shutil.move(path, target)
        made.append(target)
    return figure_rst(made, gallery_conf["src_dir"])


def arguments(gallery_conf, script_vars):
    """What an example is started with: the folder for its pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    return [str(PICTURES)]


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": os.environ.get("ISOTHERM_GALLERY", r"\.py"),
    "ignore_pattern": r"__init__\.py",
    "image_scrapers": (scrape_pictures,),
    "reset_argv": arguments,
    "reset_modules": ("matplotlib",),  # a style is its example's alone
    "capture_repr": (),
    "download_all_examples": False,
    "abort_on_example_error": True,
    "show_memory": False,
    "plot_gallery": True,
    "default_thumb_file": str(HERE / "images/mixture.png"),
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "min_reported_time": 0,
    "write_computation_times": False,  # each page tells its own; that of all needs the network
}


def as_plain_text(app, what, name, obj, options, lines):
    """Let a docstring's stars and bars be what they are: (n, *event_shape), |ΔH|."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "... ")):
            parts = re.split(r"(``.*?``)", line)
            parts[::2] = [
                re.sub(r"(?<![*])[*](?![*])|[|]", lambda found: "\\" + found[0], part)
                for part in parts[::2]
            ]
            lines[i] = "".join(parts)


def in_the_site(app, path, parent, content):
    """Links of the repository's own pages, seen from this folder."""
    text = content[0].replace("](docs/", "](")
    content[0] = re.sub(r"\]\([A-Z_]+\.md\)", lambda found: found[0].lower(), text)


def write_sentences(app):
    """The page of every sentence, from the source."""
    page = runpy.run_path(str(HERE.parent / "tools/sentences.py"))["page"]()
    (HERE / "sentences.md").write_text(page, "utf-8")


def setup(app):
    """Register what is above."""
    app.connect("builder-inited", write_sentences)
    app.connect("autodoc-process-docstring", as_plain_text, priority=400)
    app.connect("include-read", in_the_site)
