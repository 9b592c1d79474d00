"""Compare the workflow's results with what is known to be in the synthetic reads.

Reads ``truth.json`` as `make_reads` writes it, and in a directory of results the files
``SAMPLE.consensus.fasta`` and ``SAMPLE.vcf`` of each sample and ``summary.tsv``.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import pysam


def read_fasta(path: Path) -> str:
    """The sequence of the first record, in upper case."""
    with pysam.FastxFile(str(path)) as fasta:
        return str(next(iter(fasta)).sequence).upper()


def read_variants(path: Path) -> list[list[Any]]:
    """Position (from 1), reference and alternative bases of each record."""
    with pysam.VariantFile(str(path)) as vcf:
        return [[record.pos, record.ref, (record.alts or ("",))[0]] for record in vcf]


def problems_of_sample(truth: dict[str, Any], results: Path, sample: str) -> list[str]:
    """What is wrong with one sample's results; nothing, where they agree with the truth."""
    problems = []
    found = read_variants(results / f"{sample}.vcf")
    for variant in truth["variants"]:
        if variant not in found:
            problems.append(f"{sample}: variant {variant} was not found")
    for variant in found:
        if variant not in truth["variants"]:
            problems.append(f"{sample}: variant {variant} is not in the genome")
    consensus, genome = read_fasta(results / f"{sample}.consensus.fasta"), truth["genome"]
    if len(consensus) != len(genome):
        problems.append(f"{sample}: consensus of {len(consensus)} bases instead of {len(genome)}")
    wrong = sum(base not in ("N", true) for base, true in zip(consensus, genome, strict=False))
    if wrong:
        problems.append(f"{sample}: {wrong} bases of the consensus differ from the genome")
    # Only the first and last few dozen bases of a genome are thinly covered.
    unknown = consensus.count("N")
    if unknown > 0.02 * len(genome):
        problems.append(f"{sample}: {unknown} bases of the consensus are N")
    return problems


def problems_of(truth: dict[str, Any], results: Path) -> list[str]:
    """What is wrong with the results of all samples and with the summary table."""
    problems = []
    for sample, known in truth.items():
        problems += problems_of_sample(known, results, sample)
    with (results / "summary.tsv").open(newline="") as infile:
        rows = {row["sample"]: row for row in csv.DictReader(infile, delimiter="\t")}
    if sorted(rows) != sorted(truth):
        problems.append(f"summary.tsv has the samples {sorted(rows)}")
    for sample, row in rows.items():
        reads, mapped = int(row["reads"]), int(row["mapped_reads"])
        if sample in truth and reads != truth[sample]["reads"]:
            problems.append(f"{sample}: {reads} reads counted")
        if not 0.95 * reads <= mapped < reads:
            problems.append(f"{sample}: {mapped} of {reads} reads mapped")
    return problems


def main() -> int:
    """Command line; exit code 1 where the results are wrong."""
    parser = argparse.ArgumentParser(description="Check the viral assembly of synthetic reads.")
    parser.add_argument("truth", type=Path, help="truth.json")
    parser.add_argument("results", type=Path, help="directory with the workflow's output files")
    args = parser.parse_args()
    truth = json.loads(args.truth.read_text())
    problems = problems_of(truth, args.results)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        variants = sum(len(sample["variants"]) for sample in truth.values())
        print(f"{len(truth)} samples agree with the known genomes; {variants} variants recovered")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
