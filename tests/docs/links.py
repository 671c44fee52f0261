#!/usr/bin/python3 -B
"""Checks that each relative link in a Markdown file leads somewhere.

The file must exist, and have the heading that the link's #anchor names.
"""

import os
import re
import subprocess
import sys

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`]*`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def read(path):
    """The text of a Markdown file without its blocks of code."""
    with open(path, encoding="utf-8") as file:
        return FENCE.sub("", file.read())


def anchors(text):
    """The anchors of the headings, as GitHub makes them."""
    headings = [re.sub(r"[^\w\- ]", "", h.lower()) for h in HEADING.findall(text)]
    return {heading.replace(" ", "-") for heading in headings}


def broken(page):
    """A line for each link of `page` that leads nowhere."""
    for link in LINK.findall(CODE.sub("", read(page))):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = os.path.join(os.path.dirname(page), path) if path else page
        if not os.path.exists(target):
            yield f"{page}: {link}: there is no {target}"
        elif anchor and anchor not in anchors(read(target)):
            yield f"{page}: {link}: {target} has no such heading"


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../.."))
    listed = ["git", "ls-files", "-co", "--exclude-standard", "*.md"]
    pages = subprocess.run(listed, capture_output=True, text=True, check=True)
    lines = [line for page in pages.stdout.split() for line in broken(page)]
    sys.exit("\n".join(lines) or None)


if __name__ == "__main__":
    main()
