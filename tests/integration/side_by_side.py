"""Runs the cases of a test that waits more than it computes side by side, each in a
process of its own."""

import concurrent.futures
import subprocess
import sys
import unittest

AT_ONCE = 6


def _run(arguments, case):
    return subprocess.run(
        [sys.executable, "-B", sys.argv[0], *arguments, case],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def main(arguments):
    """In place of unittest.main(). `arguments` are those that the test took off
    sys.argv, for the processes of its cases."""
    if len(sys.argv) > 1:
        unittest.main()
    loader = unittest.defaultTestLoader
    cases = [
        f"{kind.__name__}.{name}"
        for kind in vars(sys.modules["__main__"]).values()
        if isinstance(kind, type) and issubclass(kind, unittest.TestCase)
        for name in loader.getTestCaseNames(kind)
    ]
    failed = []
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        runs = pool.map(lambda case: _run(arguments, case), cases)
        for case, run in zip(cases, runs, strict=True):
            print(f"== {case}", run.stdout.decode(errors="replace"), flush=True)
            if run.returncode != 0:
                failed.append(case)
    print(f"{len(cases)} cases; failed: {', '.join(failed) or 'none'}")
    sys.exit(bool(failed))
