"""A MkDocs hook: what the pages link to beside `docs/` is part of the site too.

Links such as `../benchmarks/results/speed.json` lead to files on a plain view of the
repository; in the site the same links lead to copies of them, under `repository/`.
"""

import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")


def on_files(files, config):
    """Adds every file, and all of every folder, that a page of `docs/` links to."""
    pages = [page.content_string for page in files.documentation_pages() if ours(page)]
    for link in sorted({link for page in pages for link in OUTSIDE.findall(page)}):
        path = ROOT / link
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if file.is_file()]
            names = [file.relative_to(path).as_posix() for file in inside]
            rows = [f"- [{name}]({path.name}/{name})\n" for name in names]
            title = f"# {link}\n\n"
            files.append(
                File.generated(config, address(link), content=title + "".join(rows))
            )
        else:
            inside = [path]
        for file in inside:
            name = file.relative_to(ROOT).as_posix()
            files.append(
                File.generated(config, f"repository/{name}", abs_src_path=str(file))
            )
    return files


def on_page_markdown(markdown, page, **_):
    """Turns the links of a page of `docs/` to the copies."""
    if not ours(page.file):
        return markdown
    return OUTSIDE.sub(lambda link: f"]({address(link.group(1))}", markdown)


def ours(file):
    """Whether it is a page of `docs/` itself, from where `../` leads out of it."""
    return "/" not in file.src_uri


def address(link):
    """Where the site has a file of the repository; of a folder, the list of it."""
    return f"repository/{link}.md" if (ROOT / link).is_dir() else f"repository/{link}"
