"""Make a synthetic genome, and paired reads of samples that differ from it in known places.

The same seed makes the same files. In the output directory:

``reference.fasta``
    A random genome.
``SAMPLE.bam``
    Unaligned paired reads of each sample, with sequencing errors and a few foreign reads.
``truth.json``
    Per sample its genome and its differences from the reference, written as VCF writes them.
``inputs.json``
    Inputs for the workflow.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import pysam

READ_LENGTH = 101
ERROR_RATE = 0.003
FOREIGN_SHARE = 0.02
# SAM flags; both mates are unmapped
PAIRED_UNMAPPED = 0x1 | 0x4 | 0x8
FIRST_OF_PAIR, SECOND_OF_PAIR = 0x40, 0x80
COMPLEMENT = str.maketrans("ACGT", "TGCA")


@dataclass(frozen=True)
class Variant:
    """A difference from the reference; ``position`` counts from 1, as in VCF."""

    position: int
    ref: str
    alt: str


def random_bases(rng: random.Random, length: int) -> str:
    """Bases in equal shares."""
    return "".join(rng.choices("ACGT", k=length))


def make_variants(rng: random.Random, genome: str, substitutions: int) -> list[Variant]:
    """Substitutions, one insertion and one deletion, far enough apart that reads tell them apart.

    The indels are chosen such that they can be written in one way only: shifted by a base they
    would make another sequence. So an aligner and the truth cannot disagree on their place.
    """
    count = substitutions + 2
    margin = 4 * READ_LENGTH
    spacing = (len(genome) - 2 * margin) // count
    places = [margin + n * spacing + rng.randrange(spacing // 2) for n in range(count)]
    rng.shuffle(places)

    place = places.pop()
    while True:
        insert = random_bases(rng, 3)
        if insert[-1] != genome[place] and insert[0] != genome[place + 1]:
            break
    variants = [Variant(place + 1, genome[place], genome[place] + insert)]

    place, length = places.pop(), 2
    while True:
        deleted = genome[place + 1 : place + 1 + length]
        if deleted[-1] != genome[place] and deleted[0] != genome[place + 1 + length]:
            break
        place += 1
    variants.append(Variant(place + 1, genome[place] + deleted, genome[place]))

    for place in places:
        other = rng.choice([base for base in "ACGT" if base != genome[place]])
        variants.append(Variant(place + 1, genome[place], other))
    return sorted(variants, key=lambda variant: variant.position)


def apply_variants(genome: str, variants: list[Variant]) -> str:
    """The genome with the variants in it."""
    for variant in sorted(variants, key=lambda variant: variant.position, reverse=True):
        start = variant.position - 1
        genome = genome[:start] + variant.alt + genome[start + len(variant.ref) :]
    return genome


def sequence_read(rng: random.Random, bases: str) -> str:
    """The bases as the sequencer reports them, errors included."""
    return "".join(rng.choice("ACGT") if rng.random() < ERROR_RATE else base for base in bases)


def write_reads(rng: random.Random, path: Path, sample: str, genome: str, depth: float) -> int:
    """Write an unaligned BAM of paired reads; returns how many."""
    pairs = round(depth * len(genome) / (2 * READ_LENGTH))
    header = {"HD": {"VN": "1.6", "SO": "queryname"}, "RG": [{"ID": sample, "SM": sample}]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for number in range(pairs):
            size = max(READ_LENGTH, round(rng.gauss(300, 40)))
            if rng.random() < FOREIGN_SHARE:
                fragment = random_bases(rng, size)
            else:
                start = rng.randrange(len(genome) - size)
                fragment = genome[start : start + size]
            ends = [fragment[:READ_LENGTH], fragment.translate(COMPLEMENT)[::-1][:READ_LENGTH]]
            if rng.random() < 0.5:
                ends.reverse()
            for which, bases in ((FIRST_OF_PAIR, ends[0]), (SECOND_OF_PAIR, ends[1])):
                read = pysam.AlignedSegment(out.header)
                read.query_name = f"{sample}.{number:06d}"
                read.flag = PAIRED_UNMAPPED | which
                read.query_sequence = sequence_read(rng, bases)
                read.query_qualities = pysam.qualitystring_to_array("I" * READ_LENGTH)
                read.set_tag("RG", sample)
                out.write(read)
    return 2 * pairs


def make_dataset(
    directory: Path, seed: int = 1, samples: int = 3, length: int = 12_000, depth: float = 40.0
) -> dict[str, object]:
    """Write all files into a directory, and return what ``truth.json`` holds."""
    rng = random.Random(seed)
    directory.mkdir(parents=True, exist_ok=True)
    reference = random_bases(rng, length)
    lines = [reference[start : start + 70] for start in range(0, length, 70)]
    (directory / "reference.fasta").write_text("\n".join([">synthetic_virus", *lines, ""]))
    truth: dict[str, object] = {}
    for number in range(1, samples + 1):
        sample = f"sample{number}"
        variants = make_variants(rng, reference, substitutions=4 + number)
        genome = apply_variants(reference, variants)
        reads = write_reads(rng, directory / f"{sample}.bam", sample, genome, depth)
        truth[sample] = {
            "reads": reads,
            "variants": [[v.position, v.ref, v.alt] for v in variants],
            "genome": genome,
        }
    (directory / "truth.json").write_text(json.dumps(truth, indent=1))
    inputs = {
        "viral_assembly.reads": [str((directory / f"{name}.bam").resolve()) for name in truth],
        "viral_assembly.reference": str((directory / "reference.fasta").resolve()),
    }
    (directory / "inputs.json").write_text(json.dumps(inputs, indent=1))
    return truth


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make synthetic reads for the viral assembly.")
    parser.add_argument("directory", type=Path, help="where to write the files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--length", type=int, default=12_000, help="bases of the genome")
    parser.add_argument("--depth", type=float, default=40.0, help="mean read depth")
    args = parser.parse_args()
    truth = make_dataset(args.directory, args.seed, args.samples, args.length, args.depth)
    print(f"{len(truth)} samples in {args.directory}")


if __name__ == "__main__":
    main()
