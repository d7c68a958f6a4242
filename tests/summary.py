"""Sums up a CTest run: why tests were skipped, and what failed, whose output is far above.

    python3 tests/summary.py JUNIT_FILE

JUNIT_FILE is from ctest --output-junit. Tests in Python are a few tests of CTest; those that pytest
skipped (-rs) or that failed in it are listed one by one, from its output.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter

# As GoogleTest and pytest print them.
GTEST = re.compile(r"^[^\n]*: Skipped\n(.*?)\n\n?\[  SKIPPED \]", re.MULTILINE | re.DOTALL)
PYTEST = re.compile(r"^SKIPPED \[(\d+)\] \S+: (.*)$", re.MULTILINE)
FAILURE = re.compile(r"^(?:FAILED|ERROR) \S+.*$|^\S+:\d+: Failure$", re.MULTILINE)
MOST_LINES = 20  # of a failed test


def reasons(cases: list[ET.Element]) -> Counter[str]:
    found: Counter[str] = Counter()
    for case in cases:
        output = case.findtext("system-out") or ""
        if case.find("skipped") is not None:
            reason = GTEST.search(output)
            found[" ".join(reason[1].split()) if reason else f"{case.get('name')} did not run"] += 1
        for count, reason in PYTEST.findall(output):
            found[reason] += int(count)
    return found


def failures(case: ET.Element) -> list[str]:
    """What went wrong in a failed test, or the end of its output."""
    output = case.findtext("system-out") or ""
    return (FAILURE.findall(output) or output.strip().splitlines()[-MOST_LINES:])[:MOST_LINES]


def main() -> None:
    cases = list(ET.parse(sys.argv[1]).iter("testcase"))
    found = reasons(cases)
    print(f"\nSkipped tests: {found.total()}")
    for reason, count in found.most_common():
        print(f"{count:5}  {reason}")
    failed = [case for case in cases if case.find("failure") is not None]
    if failed:
        print(f"\nFailed tests: {len(failed)}")
    for case in failed:
        print(f"  {case.get('name')}")
        for line in failures(case):
            print(f"    {line}")


if __name__ == "__main__":
    main()
