"""A workflow whose outputs are the same wherever it runs, and however its tasks are isolated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SOURCE = """
version 1.2
workflow w {
  input { File reads  Directory genome }
  scatter (i in range(3)) { call make { reads, genome, i } }
  call join { dirs = make.dir, files = make.file, genome, table = write_lines(["a", "b"]) }
  output {
    Array[File] files = make.file
    Array[File] indices = make.index
    Array[String] lines = join.lines
    Directory dir = make.dir[1]
    Array[String] seen = make.seen
  }
}
task make {
  input { File reads  Directory genome  Int i }
  command <<<
    set -e
    cat "~{reads}" "~{genome}/chr1" "~{genome}/again" > "file~{i}"
    mkdir -p "dir~{i}/sub"
    echo "~{i}" > "dir~{i}/sub/number"
    ln -s sub/number "dir~{i}/link"
    # As `samtools index` does: beside the input.
    echo "index ~{i}" > "~{reads}.index"
    cp "~{reads}.index" index
    find "~{genome}" -type f | wc -l
  >>>
  output {
    File file = "file~{i}"
    File index = "index"
    Directory dir = "dir~{i}"
    String seen = read_string(stdout())
  }
}
task join {
  input { Array[Directory] dirs  Array[File] files  Directory genome  File table }
  command <<<
    set -e
    cat ~{sep(" ", files)} "~{table}"
    while read -r dir; do cat "$dir/sub/number" "$dir/link"; done < "~{write_lines(dirs)}"
    ls "~{genome}"
  >>>
  output { Array[String] lines = read_lines(stdout()) }
}
"""


def make_inputs(directory: Path) -> list[str]:
    """Make the inputs in a directory of the shared filesystem; gives the arguments for them."""
    (directory / "reads.fq").write_text("reads\n")
    genome = directory / "genome"
    (genome / "sub").mkdir(parents=True)
    (genome / "chr1").write_text("chr1\n")
    (genome / "sub" / "chr2").write_text("chr2\n")
    (genome / "again").symlink_to("sub/chr2")
    return [f"reads={directory}/reads.fq", f"genome={genome}"]


def check(outputs: dict[str, Any], directory: Path, copied: bool = False) -> None:
    """Check what came out, and that the inputs are what they were.

    Parameters
    ----------
    copied
        Whether inputs were copied: then links in a Directory have become files.
    """
    file = "reads\nchr1\nchr2\n"
    assert {name: _content(value) for name, value in outputs.items()} == {
        "w.files": [file] * 3,
        "w.indices": ["index 0\n", "index 1\n", "index 2\n"],
        "w.lines": [*file.split() * 3, "a", "b", *"001122", "again", "chr1", "sub"],
        "w.dir": {"link": "1\n", "sub/number": "1\n"},
        "w.seen": ["3" if copied else "2"] * 3,
    }
    assert sorted(path.name for path in (directory / "genome").iterdir()) == [
        "again",
        "chr1",
        "sub",
    ]
    # Hard links of isolated tasks are gone with them.
    files = (directory / "reads.fq", directory / "genome" / "chr1")
    assert [path.stat().st_nlink for path in files] == [1, 1]


def _content(value: Any) -> Any:
    if isinstance(value, list):
        return [_content(item) for item in value]
    path = Path(str(value))
    if path.is_absolute() and path.is_dir():
        return {
            str(file.relative_to(path)): file.read_text()
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
    return path.read_text() if path.is_absolute() else value
