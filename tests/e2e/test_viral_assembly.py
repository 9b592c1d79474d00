"""The example workflow: its synthetic reads, the demo, and real reads."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import subprocess
from pathlib import Path

import check_results
import make_reads
import mappy
import pytest
from local_aws import BIN, Aws, clean_environment, skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "examples" / "viral_assembly" / "viral_assembly.wdl"
EBOLA = ROOT.parent / "shared" / "data" / "ebola"
DEMO_LIMIT_S = 240


def fasta_sequence(text: str) -> str:
    """The bases of a FASTA file with one record."""
    return "".join(line for line in text.splitlines() if not line.startswith(">"))


def test_same_seed_makes_same_reads(tmp_path: Path) -> None:
    """Two data sets of one seed are the same files, and those of another seed differ."""
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        make_reads.make_dataset(tmp_path / name, seed, samples=1, length=6000, depth=3)

    def contents(directory: str) -> list[bytes]:
        names = ("reference.fasta", "sample1.bam", "truth.json")
        return [(tmp_path / directory / name).read_bytes() for name in names]

    assert contents("a") == contents("b")
    assert all(one != other for one, other in zip(contents("a"), contents("c"), strict=True))


def test_truth_tells_how_the_genome_was_changed(tmp_path: Path) -> None:
    """Applying a sample's variants to the reference gives its genome; both kinds of indel occur."""
    truth = make_reads.make_dataset(tmp_path, seed=3, samples=2, length=8000, depth=1)
    reference = fasta_sequence((tmp_path / "reference.fasta").read_text())
    for sample in truth.values():
        variants = [make_reads.Variant(*variant) for variant in sample["variants"]]
        assert all(reference[v.position - 1 :].startswith(v.ref) for v in variants)
        assert make_reads.apply_variants(reference, variants) == sample["genome"]
        sizes = [len(v.alt) - len(v.ref) for v in variants]
        assert sorted(size for size in sizes if size) == [-2, 3]


def test_wrong_results_are_noticed(tmp_path: Path) -> None:
    """The check names a variant that is missing, one too many, and a wrong base."""
    genome = "ACGTTGCA" * 30
    truth = {"variants": [[5, "T", "G"]], "genome": genome}
    (tmp_path / "s.consensus.fasta").write_text(f">s\nN{'T' + genome[2:]}\n")
    (tmp_path / "s.vcf").write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=c>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        "c\t7\t.\tC\tA\t.\t.\t.\n"
    )
    problems = check_results.problems_of_sample(truth, tmp_path, "s")
    assert problems == [
        "s: variant [5, 'T', 'G'] was not found",
        "s: variant [7, 'C', 'A'] is not in the genome",
        "s: 1 bases of the consensus differ from the genome",
    ]


@pytest.mark.timeout(DEMO_LIMIT_S + 60)
def test_demo_ends_in_success(tmp_path: Path) -> None:
    """The demo recovers the known variants, shows local copies of its outputs, and cleans up."""
    demo = subprocess.run(
        [str(ROOT / "scripts" / "demo")],
        env=clean_environment({"PYTHON_BIN": str(BIN), "DEMO_DIR": str(tmp_path)}),
        capture_output=True,
        text=True,
        timeout=DEMO_LIMIT_S,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "3 samples agree with the known genomes" in demo.stdout
    assert "\nSuccess in " in demo.stdout
    results = tmp_path / "results"
    for kind in ("consensus.fasta", "coverage.png", "coverage.tsv", "vcf"):
        assert len(list(results.glob(f"sample?.{kind}"))) == 3
    assert (results / "sample1.coverage.png").read_bytes().startswith(b"\x89PNG\r\n")
    status = subprocess.run(
        [str(BIN / "miniwdl-cloud"), "local", "status", "--json", "--state", str(tmp_path / "aws")],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(status.stdout)["running"] is False


def test_second_demo_does_not_disturb_the_first(tmp_path: Path) -> None:
    """A demo whose directory is in use says so and touches nothing."""
    (tmp_path / "results").mkdir()
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.run(
            [str(ROOT / "scripts" / "demo")],
            env=clean_environment({"PYTHON_BIN": str(BIN), "DEMO_DIR": str(tmp_path)}),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert second.returncode == 75
    assert second.stderr == f"Another demo is running in {tmp_path}; wait for its end.\n"
    assert (tmp_path / "results").exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["aws_batch_job", "aws_fargate"])
def test_real_ebola_reads_give_the_genome(aws: Aws, engine: str) -> None:
    """Real reads, staged from local files, give a consensus close to the reference genome, with
    tasks on Batch and on Fargate."""
    reads, reference = EBOLA / "G5012.3.testreads.bam", EBOLA / "ebov-makona.fasta"
    if not reads.exists() or not reference.exists():
        skip_or_fail("the real Ebola reads are not beside the repository, in shared/data/ebola")
    folder = f"s3://{aws.bucket}/real-reads/{engine}/"
    aws.submit(
        *(str(WORKFLOW), f"reads={reads}", f"reference={reference}"),
        *("--follow", "--s3upload", folder, "--no-cache"),
        extra_env={"MINIWDL__SCHEDULER__CONTAINER_BACKEND": engine},
    )
    outputs = json.loads(aws.get_object(f"{folder}outputs.json"))

    table = aws.get_object(outputs["viral_assembly.summary"]).decode()
    (row,) = csv.DictReader(io.StringIO(table), delimiter="\t")
    assert row["sample"] == "G5012.3.testreads"
    assert int(row["reads"]) == 18_710
    assert int(row["mapped_reads"]) >= 18_500

    consensus = fasta_sequence(aws.get_object(outputs["viral_assembly.consensus"][0]).decode())
    genome = fasta_sequence(reference.read_text())
    assert len(genome) == 18_959
    assert abs(len(consensus) - len(genome)) <= 0.01 * len(genome)
    hits = [
        hit for hit in mappy.Aligner(seq=genome, preset="asm5").map(consensus) if hit.is_primary
    ]
    assert sum(hit.r_en - hit.r_st for hit in hits) >= 0.98 * len(genome)
    assert sum(hit.mlen for hit in hits) > 0.99 * sum(hit.blen for hit in hits)
    assert aws.get_object(outputs["viral_assembly.coverage_plot"][0]).startswith(b"\x89PNG\r\n")
