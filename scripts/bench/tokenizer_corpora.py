"""Makes the texts that tokenizers are measured on, from what Debian 12 packages hold.

Packages are fetched by apt-get download and only read, never installed; code is what g++ and Python
bring. A corpus is a file of documents, each after its length in bytes as a little-endian 32-bit
number.
"""

import html
import io
import re
import struct
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGES = (
    "debian-handbook",
    "installation-guide-amd64",
    "fortunes",
    "fortunes-zh",
    "unicode-data",
)
DOCUMENT = 4096  # bytes, about: a document ends where a paragraph or a line does
CORPUS = 2 << 20  # bytes, at most
HOSTILE = 1 << 20

CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
PARAGRAPH = re.compile(r'(?:<p>|<div class="para">)(.*?)(?:</p>|</div>)', re.DOTALL)
EMOJI = re.compile(r"^([0-9A-F ]+?) *; fully-qualified", re.MULTILINE)


class Packages:
    """The files of Debian packages, fetched into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        missing = [name for name in PACKAGES if not list(folder.glob(f"{name}_*.deb"))]
        if missing:
            apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download"]
            subprocess.run([*apt, *missing], cwd=folder, check=True)
        self._folder = folder

    def texts(self, package: str, pattern: str) -> list[str]:
        """The files whose paths match, in the order of the paths."""
        (archive,) = self._folder.glob(f"{package}_*.deb")
        command = ["dpkg-deb", "--fsys-tarfile", archive]
        content = subprocess.run(command, capture_output=True, check=True).stdout
        found: dict[str, str] = {}
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for member in tar:
                if member.isfile() and re.search(pattern, member.name):
                    file = tar.extractfile(member)
                    assert file is not None
                    found[member.name] = file.read().decode(errors="replace")
        return [found[name] for name in sorted(found)]

    def paragraphs(self, package: str, pattern: str) -> Iterator[str]:
        """The paragraphs of HTML pages, without markup, each line's indent removed."""
        for page in self.texts(package, pattern):
            for paragraph in PARAGRAPH.findall(page):
                text = html.unescape(re.sub(r"<[^>]*>", "", paragraph))
                yield re.sub(r"\s*\n\s*", "\n", text).strip() + "\n\n"


def documents(paragraphs: Iterable[str]) -> list[str]:
    """Paragraphs, joined until they are long enough."""
    out: list[str] = []
    parts: list[str] = []
    size = 0
    for paragraph in paragraphs:
        parts.append(paragraph)
        size += len(paragraph.encode())
        if size >= DOCUMENT:
            out.append("".join(parts))
            parts, size = [], 0
    return out


def in_turns(*lists: list[str]) -> list[str]:
    """Members of all lists, evenly mixed, however long each is."""
    order = sorted((i / len(part), n, i) for n, part in enumerate(lists) for i in range(len(part)))
    return [lists[n][i] for _, n, i in order]


def capped(texts: Iterable[str], size: int) -> list[str]:
    out: list[str] = []
    for text in texts:
        size -= len(text.encode())
        if size < 0:
            break
        out.append(text)
    return out


def english(packages: Packages) -> list[str]:
    return in_turns(
        documents(packages.paragraphs("debian-handbook", r"/en-US/[^/]*\.html$")),
        documents(packages.paragraphs("installation-guide-amd64", r"/en/[^/]*\.html$")),
        documents(cookies(packages)),
    )


def cookies(packages: Packages) -> list[str]:
    files = packages.texts("fortunes", r"/(cookie|people|science|literature|definitions)$")
    return [cookie for file in files for cookie in file.split("%\n")]


def code() -> list[str]:
    def lines(paths: Iterable[Path]) -> list[str]:
        return documents(
            line for path in paths for line in path.read_text().splitlines(keepends=True)
        )

    return in_turns(
        lines(sorted(Path("/usr/include/c++/12/bits").glob("*.h"))),
        lines(sorted(Path("/usr/lib/python3.11").glob("*.py"))),
    )


def cjk(packages: Packages) -> list[str]:
    """Paragraphs of which three characters in five are Chinese, Japanese or Korean."""

    def of(package: str, pattern: str) -> list[str]:
        return documents(
            text
            for text in packages.paragraphs(package, pattern)
            if 5 * len(CJK.findall(text)) >= 3 * len(text)
        )

    poems = [
        re.sub("\x1b[^m]*m", "", t) for t in packages.texts("fortunes-zh", "/(tang|song)[0-9]+$")
    ]
    return in_turns(
        of("debian-handbook", r"/zh-CN/[^/]*\.html$"),
        of("debian-handbook", r"/ja-JP/[^/]*\.html$"),
        of("installation-guide-amd64", r"/zh_CN/[^/]*\.html$"),
        of("installation-guide-amd64", r"/ja/[^/]*\.html$"),
        of("installation-guide-amd64", r"/ko/[^/]*\.html$"),
        documents(poem for text in poems for poem in text.split("%\n")),
    )


def emoji(packages: Packages) -> list[str]:
    """Cookies with an emoji after each line."""
    (table,) = packages.texts("unicode-data", "/emoji-test.txt$")
    all_emoji = ["".join(chr(int(c, 16)) for c in m.split()) for m in EMOJI.findall(table)]
    lines = (line for cookie in cookies(packages) for line in cookie.splitlines())
    return documents(f"{line} {all_emoji[i % len(all_emoji)]}\n" for i, line in enumerate(lines))


def hostile() -> dict[str, str]:
    """What is slow to split, to normalise or to merge, unless care was taken; 1 MB each."""
    letters = "".join(chr(ord("a") + (i * i * 7 + i // 3) % 26) for i in range(HOSTILE))
    return {
        "one letter": "a" * HOSTILE,
        "letters without a space": letters,
        "combining marks": "a" + "\u0301\u0323" * (HOSTILE // 4),
        "white space": " " * HOSTILE,
        "symbols": "=-" * (HOSTILE // 2),
        "Chinese without a break": "的一是不了人我在有他这为之大来以个中上们" * (HOSTILE // 60),
    }


def write(path: Path, texts: list[str]) -> None:
    with path.open("wb") as file:
        for text in texts:
            data = text.encode()
            file.write(struct.pack("<I", len(data)) + data)


def make_corpora(folder: Path) -> dict[str, Path]:
    """The corpora's files by name; makes them where they are not there yet."""
    packages = Packages(folder / "packages")
    parts = {"English": english(packages), "code": code(), "CJK": cjk(packages)}
    # By documents: four in ten English, three code, two CJK, one with emoji.
    size = CORPUS // 10
    parts["mixed"] = in_turns(
        capped(parts["English"], 4 * size),
        capped(parts["code"], 3 * size),
        capped(parts["CJK"], 2 * size),
        capped(emoji(packages), size),
    )
    corpora = {name: capped(texts, CORPUS) for name, texts in parts.items()}
    corpora |= {f"hostile: {name}": [text] for name, text in hostile().items()}
    paths = {name: folder / (re.sub(r"\W+", "_", name) + ".documents") for name in corpora}
    for name, texts in corpora.items():
        write(paths[name], texts)
    return paths
