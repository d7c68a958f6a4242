"""Writes one C++ program that runs all complete C++ programs of some Markdown files.

Each must print the text block that follows it. Usage: cpp_snippets.py OUTPUT.cc FILE.md...
"""

import json
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

RUNNER = """
int main() {
  int failures = 0;
  for (const Snippet& snippet : kSnippets) {
    std::ostringstream printed;
    auto* const stream = std::cout.rdbuf(printed.rdbuf());
    const int code = snippet.run();
    std::cout.rdbuf(stream);
    if (code == 0 && printed.str() == snippet.expected) continue;
    ++failures;
    std::cout << snippet.place << ": exit code " << code << ", expected\\n"
              << snippet.expected << "found\\n" << printed.str();
  }
  std::cout << std::size(kSnippets) << " programs, " << failures << " failures\\n";
  return failures == 0 ? 0 : 1;
}
"""


def main(output: str, *pages: str) -> None:
    includes = {"#include <iostream>", "#include <iterator>", "#include <sstream>"}
    functions, table = [], []
    for page in pages:
        text = Path(page).read_text(encoding="utf-8")
        blocks = [(match, *match.groups()) for match in BLOCK.finditer(text)]
        for (match, language, source), following in zip(blocks, [*blocks[1:], None], strict=False):
            if language != "cpp":
                continue
            name = f"snippet_{len(functions)}"
            place = f"{Path(page).name}:{text.count(chr(10), 0, match.start()) + 1}"
            lines = source.splitlines()
            includes.update(line for line in lines if line.startswith("#include"))
            body = "\n".join(line for line in lines if not line.startswith("#include"))
            if body.count("int main() {") != 1:
                sys.exit(f"{place}: expected a complete program with int main() {{")
            if following is None or following[1] != "text":
                sys.exit(f"{place}: expected a text block with what the program prints")
            # Only main() may end without a return.
            body = body.replace("int main() {", f"int {name}() {{").rstrip()
            functions.append(body.removesuffix("}") + "  return 0;\n}\n")
            table.append(f"  {{{json.dumps(place)}, {name}, {json.dumps(following[2])}}},\n")
    if not functions:
        sys.exit("there are no C++ programs in these files")
    Path(output).write_text(
        "\n".join(sorted(includes))
        + "\n\nnamespace {\n\n"
        + "\n".join(functions)
        + "\nstruct Snippet {\n  const char* place;\n  int (*run)();\n  const char* expected;\n};\n"
        + "const Snippet kSnippets[] = {\n"
        + "".join(table)
        + "};\n\n}  // namespace\n"
        + RUNNER,
        encoding="utf-8",
    )


main(*sys.argv[1:])
