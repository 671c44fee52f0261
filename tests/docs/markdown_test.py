#!/usr/bin/python3
"""Unit tests of markdown.py."""

import unittest

import markdown


def run_and_skipped(text):
    found = markdown.blocks(text)
    return (
        [run for block in found for run in block.runs()],
        [(line, why) for block in found for line, _, why in block.skips()],
    )


class MarkdownTest(unittest.TestCase):
    def test_commands_are_whole(self):
        text = (
            "```sh\na | # one\n  b\n\nc \\\n  d\n# text\nfor i in 1; do\n  e\ndone\n```"
        )
        commands, _ = run_and_skipped(text)
        self.assertEqual(
            commands,
            [
                (2, "a | # one\n  b\n"),
                (5, "c \\\n  d\n"),
                (8, "for i in 1; do\n  e\ndone\n"),
            ],
        )

    def test_here_documents_are_whole(self):
        commands, _ = run_and_skipped("```sh\ncat <<X\na\nX\nb\n```")
        self.assertEqual(commands, [(2, "cat <<X\na\nX\n"), (5, "b\n")])

    def test_notes_keep_commands_from_running(self):
        note = "<!-- run: not a, it is long -->\n"
        self.assertEqual(
            run_and_skipped(note + "```sh\na 1\nb\n```"),
            ([(4, "b\n")], [(3, "it is long")]),
        )
        self.assertEqual(
            run_and_skipped("<!-- run: no, it is long -->\n```sh\na\nb\n```"),
            ([], [(3, "it is long"), (4, "it is long")]),
        )

    def test_other_blocks_do_not_run(self):
        self.assertEqual(run_and_skipped("```yaml\na: b\n```\n\n    c\n"), ([], []))

    def test_what_is_not_written_so(self):
        for text, why in (
            ("<!-- run: no -->\n```sh\na\n```", "say why"),
            ("<!-- run: no, it is long -->\ntext", "no block follows"),
            ("text\n\n    ramvol ls\n", "write it as a block of sh"),
            ("```sh\na |\n```", "has no end"),
        ):
            with self.subTest(text), self.assertRaisesRegex(markdown.BadPage, why):
                run_and_skipped(text)

    def test_commands_in_text(self):
        text = "Say `ramvol ls`.\n```sh\n`ramvol x`\n```\nOr\n`ramvold --a=b`, `c`."
        self.assertEqual(
            list(markdown.spans(text)), [(1, "ramvol ls"), (6, "ramvold --a=b")]
        )


if __name__ == "__main__":
    unittest.main()
