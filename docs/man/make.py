"""Makes the manual pages out of what the programs say with --help.

Usage: make.py [--check] RAMVOLD RAMVOL RAMVOL_NBD RAMVOL_CSI

Options, commands and exit codes come from --help alone; what else a page needs
(NAME, examples, files) from PROGRAM.text beside this script. Writes ramvold.8,
ramvol.1, ramvol-nbd.8 and ramvol-csi.8 beside it; with --check, says when they would differ.
"""

import pathlib
import re
import subprocess
import sys
import textwrap

FOLDER = pathlib.Path(__file__).absolute().parent
SECTIONS = {"ramvold": 8, "ramvol": 1, "ramvol-nbd": 8, "ramvol-csi": 8}


def run(program, *arguments):
    return subprocess.run(
        [program, *arguments], check=True, capture_output=True, text=True
    ).stdout


def escape(text):
    """Text as roff takes it; a dash that people type stays one."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def fill(text):
    """Running text as roff, in short lines."""
    return escape(
        textwrap.fill(text, 76, break_long_words=False, break_on_hyphens=False)
    )


def paragraphs(text):
    """Paragraphs as roff; what is indented by four spaces is shown as it is."""
    lines = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        if part.startswith("    "):
            code = "\n".join(line[4:] for line in part.splitlines())
            lines += [".PP", ".in +4n", ".EX", escape(code), ".EE", ".in"]
        else:
            lines += [".PP", fill(" ".join(part.split()))]
    return "\n".join(lines[1:] if lines[:1] == [".PP"] else lines)


def tagged(name, text):
    return f".TP\n.B {escape(name)}\n{fill(text)}"


# --- ramvold and ramvol-nbd: Abseil's help ---


def daemon_flags(help_text):
    """(name, description, default) of each flag, in order."""
    flags = help_text[help_text.index("  Flags from ") :]
    flags = flags[: flags.index("\nTry --helpfull")]
    flat = " ".join(flags.split())
    found = re.findall(r"--(\w+) \((.*?)\); default: (\S*?);(?= --|$)", flat)
    if len(found) != len(re.findall(r"^    --\w+ ", flags, re.M)):
        sys.exit(f"cannot read these flags:\n{flags}")
    return found


def daemon_page(name, help_text):
    usage = help_text[: help_text.index("  Flags from ")]
    summary, description = usage.split("Usage: ", 1)
    description = description.split("\n", 1)[1]
    lines = [".SH SYNOPSIS", f".B {escape(name)}", ".RI [ flags ]", ".SH DESCRIPTION"]
    lines.append(
        paragraphs(f"{summary.split(': ', 1)[1].strip()}\n\n{description.strip()}")
    )
    lines.append(".SH OPTIONS")
    for flag, text, default in daemon_flags(help_text):
        if text.startswith("For the driver itself"):  # Nobody types it.
            continue
        lines.append(tagged(f"--{flag}", f"{text} Default: {default}."))
    lines.append(tagged("--version", "Prints the version."))
    lines.append(tagged("--flagfile", "Reads flags from this file, one a line."))
    return "\n".join(lines)


# --- ramvol: CLI11's help ---


def cli_blocks(help_text):
    """The blocks under "Options:", "Subcommands:" and so on, by their titles."""
    blocks = {}
    title = ""
    for line in help_text.splitlines():
        if match := re.fullmatch(r"([A-Z][a-z ]+):", line):
            title = match.group(1)
        elif line.startswith("  "):
            blocks.setdefault(title, []).append(line)
        elif line and title:
            title = ""
    return blocks


def cli_entries(lines):
    """(name, description) of lines in two columns."""
    entries = []
    for line in lines:
        parts = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        if re.match(r"  \S", line):
            entries.append([parts[0], ""])
            if len(parts) == 1:
                continue
            parts = parts[1:]
        entries[-1][1] = " ".join([entries[-1][1], *parts]).strip()
    return entries


def cli_prose(help_text):
    """The paragraphs that are neither the usage nor a block of two columns."""
    parts = re.split(r"\n\s*\n", help_text.strip("\n"))[1:]
    return [
        part
        for part in parts
        if not re.match(r"Usage: |[A-Z][a-z ]+:\n  |--server, --timeout, ", part)
    ]


def cli_command(program, command, description):
    help_text = run(program, command, "--help")
    usage = re.search(r"^Usage: ramvol (.*)$", help_text, re.M).group(1)
    lines = [f".SS {escape(usage)}", escape(description + ".")]
    blocks = cli_blocks(help_text)
    for title in ("Positionals", "Options"):
        for name, text in cli_entries(blocks.get(title, [])):
            if name != "-h,--help":
                lines.append(tagged(name.replace(" REQUIRED", ""), text))
    prose = "\n\n".join(cli_prose(help_text))
    if prose:
        lines += [".PP", paragraphs(prose)]
    return "\n".join(lines)


def cli_page(program):
    help_text = run(program, "--help")
    blocks = cli_blocks(help_text)
    lines = [
        ".SH SYNOPSIS",
        ".B ramvol",
        ".RI [ options ]",
        ".I command",
        ".RI [ arguments ]",
    ]
    lines += [".SH DESCRIPTION", escape(help_text.split("\n", 1)[0])]
    lines += [".PP", paragraphs("\n\n".join(cli_prose(help_text)))]
    lines.append(".SH OPTIONS")
    lines += [tagged(name, text) for name, text in cli_entries(blocks["Options"])]
    lines.append(".SH COMMANDS")
    for command, description in cli_entries(blocks["Subcommands"]):
        name, *others = command.split(", ")
        if others:
            description += f". Also called {' and '.join(others)}"
        lines.append(cli_command(program, name, description))
    lines.append(".SH EXIT STATUS")
    lines += [tagged(name, text) for name, text in cli_entries(blocks["Exit codes"])]
    return "\n".join(lines)


# --- Pages ---


def page(name, program):
    version = run(program, "--version").split()[1]
    text = (FOLDER / f"{name}.text").read_text()
    sections = re.split(r"^# (.*)\n", text, flags=re.M)[1:]
    prose = dict(zip(sections[::2], sections[1::2]))
    body = (
        cli_page(program)
        if name == "ramvol"
        else daemon_page(name, run(program, "--help"))
    )
    lines = [
        f'.\\" Made by {pathlib.Path(__file__).name} out of {name} --help and {name}.text.',
        f'.TH {name.upper()} {SECTIONS[name]} "" "ramvol {version}" "RAM volumes"',
        ".SH NAME",
        escape(prose.pop("NAME").strip()),
        body,
    ]
    for title, content in prose.items():
        lines += [f".SH {title}", paragraphs(content)]
    return "\n".join(lines) + "\n"


def main(arguments):
    check = arguments[:1] == ["--check"]
    status = 0
    for name, program in zip(SECTIONS, arguments[1 if check else 0 :], strict=True):
        path = FOLDER / f"{name}.{SECTIONS[name]}"
        made = page(name, program)
        if not check:
            path.write_text(made)
        elif not path.exists() or path.read_text() != made:
            print(
                f"{path.name} is not what {name} --help says; ./dev man makes it anew"
            )
            status = 1
    return status


sys.exit(main(sys.argv[1:]))
