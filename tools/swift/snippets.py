#!/usr/bin/env python3
"""usage: snippets.py FOLDER

Writes every code block of the DocC pages, of the doc comments of MLXEngine, and of README.md's Swift section into files
in FOLDER that can be compiled: swift/, objc/, cpp/, and manifests/. A Swift block that begins with `import` is a file;
any other becomes a function on the main actor that is given `folder`, `model` and `session`.
"""
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "swift/Sources/MLXEngine"
HEAD = "import Foundation\nimport MLXEngine\n\n"
FUNCTION = "@MainActor\nfunc {name}(folder: URL, model: MLXEngine.LanguageModel, session: ChatSession) async throws {{\n{body}\n}}\n"


def texts():
    """Names and Markdown texts."""
    for page in sorted(SOURCES.glob("MLXEngine.docc/*.md")):
        yield page.stem, page.read_text()
    for source in sorted(SOURCES.rglob("*.swift")):
        comments = [m[1] for m in re.finditer(r"^ *///(?: (.*)|)$", source.read_text(), re.M)]
        yield source.stem.replace("+", ""), "\n".join(c or "" for c in comments)
    readme = (ROOT / "README.md").read_text()
    yield "README", re.search(r"^## Swift\n(.*?)^## ", readme, re.M | re.S)[1]


def main(folder):
    shutil.rmtree(folder, ignore_errors=True)
    counts = {}
    for name, text in texts():
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
        if 2 * len(blocks) != text.count("```"):
            sys.exit(f"{name}: a code block without a language, or indented: it would not be compiled")
        for number, (language, code) in enumerate(blocks, 1):
            if language == "sh":
                continue
            unique = f"{name}{number}"
            if language == "swift" and code.startswith("// swift-tools-version"):
                path = folder / "manifests" / unique / "Package.swift"
            elif language == "swift":
                path = folder / "swift" / f"{unique}.swift"
                if not code.startswith("import"):
                    code = HEAD + FUNCTION.format(name=f"snippet{unique}", body=code.rstrip())
            else:
                suffix = {"objc": "m", "cpp": "cpp"}[language]
                path = folder / language / f"{unique}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
            counts[language] = counts.get(language, 0) + 1
    print("snippets:", ", ".join(f"{count} {language}" for language, count in sorted(counts.items())))


main(Path(sys.argv[1]))
