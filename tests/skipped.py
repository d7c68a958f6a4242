"""Counts the skipped tests of a CTest run, and says why they were skipped.

    python3 tests/skipped.py JUNIT_FILE

JUNIT_FILE is from ctest --output-junit. Tests of the Python package are one test of CTest; those that
pytest skipped are counted one by one, from its output (-rs).
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter

# As GoogleTest and pytest print them.
GTEST = re.compile(r"^[^\n]*: Skipped\n(.*?)\n\n?\[  SKIPPED \]", re.MULTILINE | re.DOTALL)
PYTEST = re.compile(r"^SKIPPED \[(\d+)\] \S+: (.*)$", re.MULTILINE)


def reasons(path: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for case in ET.parse(path).iter("testcase"):
        output = case.findtext("system-out") or ""
        if case.find("skipped") is not None:
            reason = GTEST.search(output)
            found[" ".join(reason[1].split()) if reason else f"{case.get('name')} did not run"] += 1
        for count, reason in PYTEST.findall(output):
            found[reason] += int(count)
    return found


def main() -> None:
    found = reasons(sys.argv[1])
    print(f"\nSkipped tests: {found.total()}")
    for reason, count in found.most_common():
        print(f"{count:5}  {reason}")


if __name__ == "__main__":
    main()
