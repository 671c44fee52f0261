"""The blocks of a Markdown page that hold commands, and what is said about them.

A block of commands is fenced as ```sh and runs, unless comments right before it say
otherwise:

    <!-- run: no, WHY -->               nothing of the block runs
    <!-- run: not COMMAND, WHY -->      no command that begins so runs
    <!-- run: beside, WHY -->           its commands run on, beside what follows
    <!-- run: output -->                not commands, but what the one before prints
"""

import dataclasses
import re
import subprocess

COMMENT = re.compile(r"<!-- run: (.*) -->$")
# What can only be a command: those do not hide where nobody runs them.
COMMAND = re.compile(r"(\./dev|ramvold?|ramvol-nbd|podman|docker|apt|systemctl) ")


class BadPage(Exception):
    """A page that is not written as the rules above want it."""


@dataclasses.dataclass
class Block:
    """Lines of a page, and what the comments before them say."""

    line: int  # Of the first one.
    fence: str  # What stands behind the fence: "sh"; "" for an indented block.
    lines: list
    notes: list  # Of the comments, as (line, text).

    def says(self, what):
        return any(note.partition(",")[0] == what for _, note in self.notes)

    def text(self):
        return "\n".join(self.lines)

    def runs(self):
        """The commands that run, as (line, command)."""
        return [(line, text) for line, text, why in self._commands() if not why]

    def skips(self):
        """Those that do not, as (line, command, why)."""
        return [found for found in self._commands() if found[2]]

    def _commands(self):
        if self.fence != "sh":
            return
        whole, first = "", self.line
        for number, line in enumerate(self.lines, self.line):
            whole += line + "\n"
            if line.endswith("\\") or not is_whole(whole):
                continue
            if not all(re.match(r"\s*(#|$)", part) for part in whole.splitlines()):
                yield first, whole, self._why_not(whole)
            whole, first = "", number + 1
        if whole.strip():
            raise BadPage(f"{first}: the command has no end: {whole}")

    def _why_not(self, command):
        for line, note in self.notes:
            what, _, why = note.partition(", ")
            if not why and what != "output":
                raise BadPage(f"{line}: say why: {note}")
            if what == "no" or command.startswith(what.removeprefix("not ")):
                return why
        return None


def is_whole(command):
    """Whether the shell would not wait for more."""
    checked = subprocess.run(["bash", "-n", "-c", command], stderr=subprocess.PIPE)
    waits = (b"unexpected end of file", b"unexpected EOF", b"delimited by end-of-file")
    return not any(reason in checked.stderr for reason in waits)


def blocks(text):
    """The blocks of a page: fenced ones, and indented ones after an empty line."""
    lines = text.splitlines()
    notes, at, found = [], 0, []
    while at < len(lines):
        line, start = lines[at], at
        if line.startswith("```"):
            end = lines.index("```", at + 1)
            found.append(Block(at + 2, line[3:], lines[at + 1 : end], notes))
            at, notes = end + 1, []
        elif line.startswith("    ") and (notes or at == 0 or not lines[at - 1]):
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at]):
                at += 1
            held = [part[4:] for part in lines[start:at]]
            found.append(Block(start + 1, "", held, notes))
            notes = []
        else:
            at += 1
            if comment := COMMENT.match(line):
                notes = [*notes, (at, comment.group(1))]
            elif line and notes:
                raise BadPage(f"{notes[0][0]}: no block follows: {notes[0][1]}")
    for block in found:
        hidden = [part for part in block.lines if COMMAND.match(part)]
        if block.fence == "" and hidden and not block.notes:
            raise BadPage(f"{block.line}: write it as a block of sh: {hidden[0]}")
    return found


def spans(text):
    """The commands in running text, `like this`, as (line, command)."""
    fenced = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    prose = fenced.sub(lambda block: "\n" * block.group().count("\n"), text)
    for number, line in enumerate(prose.splitlines(), 1):
        yield from ((number, span) for span in re.findall(r"`(ramvol[^`]*)`", line))
