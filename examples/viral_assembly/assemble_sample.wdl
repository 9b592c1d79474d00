version 1.1

import "structs.wdl"

workflow assemble_sample {
    meta {
        description: "Align one sample's reads, call its consensus genome and plot its coverage"
    }

    input {
        String sample
        File reads
        File reference
        Int min_depth
        String docker
    }

    call align {
        input:
            sample = sample,
            reads = reads,
            reference = reference,
            docker = docker
    }

    call call_consensus {
        input:
            sample = sample,
            aligned = align.aligned,
            aligned_index = align.aligned_index,
            reference = reference,
            min_depth = min_depth,
            docker = docker
    }

    call plot_coverage {
        input:
            sample = sample,
            coverage_table = call_consensus.coverage_table,
            min_depth = min_depth,
            docker = docker
    }

    output {
        SampleReport report = SampleReport {
            sample: sample,
            reads: align.total_reads,
            mapped_reads: align.mapped_reads,
            reference_length: call_consensus.reference_length,
            covered_bases: call_consensus.covered_bases,
            mean_depth: call_consensus.mean_depth,
            variants: call_consensus.variant_count,
            consensus_length: call_consensus.consensus_length
        }
        File aligned = align.aligned
        File aligned_index = align.aligned_index
        File consensus = call_consensus.consensus
        File variants = call_consensus.variants
        File coverage_table = call_consensus.coverage_table
        File coverage_plot = plot_coverage.plot
    }
}

task align {
    meta {
        description: "Map read pairs with minimap2's short-read preset; sort and index the result"
    }

    input {
        String sample
        File reads
        File reference
        String docker
    }

    command <<<
        set -euo pipefail
        python3 - '~{sample}' '~{reads}' '~{reference}' <<'PY'
        import json
        import os
        import sys

        import mappy
        import pysam

        sample, reads_bam, reference = sys.argv[1:]
        # minimap2 mismatches, gap opens and gap bases: operators of its CIGAR arrays
        MATCH, INSERTION, DELETION, SOFT_CLIP = 0, 1, 2, 4
        MAX_INSERT = 1000

        aligner = mappy.Aligner(reference, preset="sr")
        if not aligner:
            sys.exit(f"{os.path.basename(reference)} is not a FASTA file with a sequence")
        names = list(aligner.seq_names)
        header = pysam.AlignmentHeader.from_dict(
            {
                "HD": {"VN": "1.6", "SO": "unsorted"},
                "SQ": [{"SN": name, "LN": len(aligner.seq(name))} for name in names],
                "RG": [{"ID": sample, "SM": sample, "PL": "ILLUMINA"}],
            }
        )


        def pairs(bam):
            """Groups of one or two reads that follow each other under the same name."""
            waiting = None
            for read in bam:
                if waiting is not None and read.query_name == waiting.query_name:
                    yield [waiting, read]
                    waiting = None
                else:
                    if waiting is not None:
                        yield [waiting]
                    waiting = read
            if waiting is not None:
                yield [waiting]


        def best_hits(group):
            """The primary hit, or None, of each read of the group."""
            found = {}
            for hit in aligner.map(*(read.query_sequence for read in group)):
                if hit.is_primary and hit.read_num not in found:
                    found[hit.read_num] = hit
            return [found.get(number) for number in range(1, len(group) + 1)]


        def aligned_read(read, hit):
            """The read as an aligned one where there is a hit; as it came otherwise."""
            ans = pysam.AlignedSegment(header)
            ans.query_name = read.query_name
            ans.flag = read.flag & (0x1 | 0x40 | 0x80 | 0x200)
            bases, qualities = read.query_sequence, read.query_qualities
            if hit is None:
                ans.is_unmapped = True
            else:
                ans.reference_id = names.index(hit.ctg)
                ans.reference_start = hit.r_st
                ans.mapping_quality = hit.mapq
                clips = [hit.q_st, len(bases) - hit.q_en]
                if hit.strand < 0:
                    ans.is_reverse = True
                    bases = mappy.revcomp(bases)
                    qualities = None if qualities is None else qualities[::-1]
                    clips.reverse()
                cigar = [(operator, length) for length, operator in hit.cigar]
                before = [(SOFT_CLIP, clips[0])] if clips[0] else []
                after = [(SOFT_CLIP, clips[1])] if clips[1] else []
                ans.cigartuples = before + cigar + after
                ans.set_tag("NM", hit.NM)
            ans.query_sequence = bases
            ans.query_qualities = qualities
            ans.set_tag("RG", sample)
            return ans


        def tell_mates(first, second):
            """Fill in what each read of a pair records of its mate."""
            for read, mate in ((first, second), (second, first)):
                read.is_paired = True
                read.mate_is_unmapped = mate.is_unmapped
                read.mate_is_reverse = mate.is_reverse
                if read.is_unmapped and not mate.is_unmapped:
                    read.reference_id = mate.reference_id
                    read.reference_start = mate.reference_start
            for read, mate in ((first, second), (second, first)):
                read.next_reference_id = mate.reference_id
                read.next_reference_start = mate.reference_start
            if first.is_unmapped or second.is_unmapped:
                return
            if first.reference_id != second.reference_id:
                return
            start = min(first.reference_start, second.reference_start)
            end = max(first.reference_end, second.reference_end)
            left = first if first.reference_start <= second.reference_start else second
            right = second if left is first else first
            left.template_length, right.template_length = end - start, start - end
            inward = not left.is_reverse and right.is_reverse
            for read in (first, second):
                read.is_proper_pair = inward and end - start <= MAX_INSERT


        total = mapped = 0
        with (
            pysam.AlignmentFile(reads_bam, check_sq=False) as bam,
            pysam.AlignmentFile("unsorted.bam", "wb", header=header) as out,
        ):
            primary = (r for r in bam if not (r.is_secondary or r.is_supplementary))
            for group in pairs(primary):
                segments = [aligned_read(*each) for each in zip(group, best_hits(group))]
                if len(segments) == 2:
                    tell_mates(*segments)
                for segment in segments:
                    out.write(segment)
                total += len(segments)
                mapped += sum(not segment.is_unmapped for segment in segments)

        target = f"{sample}.aligned.bam"
        pysam.sort("-o", target, "unsorted.bam")
        pysam.index(target)
        os.unlink("unsorted.bam")
        with open("statistics.json", "w") as outfile:
            json.dump({"total_reads": total, "mapped_reads": mapped}, outfile)
        print(f"{sample}: {mapped} of {total} reads mapped", file=sys.stderr)
        PY
    >>>

    output {
        File aligned = "~{sample}.aligned.bam"
        File aligned_index = "~{sample}.aligned.bam.bai"
        Int total_reads = read_json("statistics.json")["total_reads"]
        Int mapped_reads = read_json("statistics.json")["mapped_reads"]
    }

    runtime {
        docker: docker
        cpu: 1
        memory: "2 GiB"
    }
}

task call_consensus {
    meta {
        description: "Majority consensus, its differences from the reference as VCF, and depth by position"
    }

    input {
        String sample
        File aligned
        File aligned_index
        File reference
        Int min_depth
        Int min_base_quality = 20
        Int min_mapping_quality = 10
        String docker
    }

    command <<<
        set -euo pipefail
        # htslib looks for the index beside the BAM
        ln -s '~{aligned}' input.bam
        ln -s '~{aligned_index}' input.bam.bai
        python3 - '~{sample}' input.bam '~{reference}' \
            ~{min_depth} ~{min_base_quality} ~{min_mapping_quality} <<'PY'
        import json
        import sys
        from collections import Counter

        import pysam

        sample, bam_name, reference = sys.argv[1:4]
        min_depth, min_base_quality, min_mapping_quality = map(int, sys.argv[4:])

        with pysam.FastxFile(reference) as fasta:
            records = [(record.name, record.sequence.upper()) for record in fasta]
        if len(records) != 1:
            sys.exit(f"the reference has {len(records)} sequences; give one with exactly 1")
        contig, genome = records[0]

        # Per position: what the reads show there ("" where they have it deleted), and what they
        # have inserted after it.
        shown = [Counter() for _ in genome]
        inserted = [Counter() for _ in genome]
        with pysam.AlignmentFile(bam_name) as bam:
            columns = bam.pileup(
                contig,
                stepper="nofilter",
                max_depth=1_000_000,
                min_base_quality=min_base_quality,
                min_mapping_quality=min_mapping_quality,
                ignore_overlaps=True,
            )
            for column in columns:
                position = column.reference_pos
                for entry in column.pileups:
                    if entry.alignment.is_unmapped or entry.is_refskip:
                        continue
                    if entry.is_del:
                        shown[position][""] += 1
                        continue
                    read, offset = entry.alignment, entry.query_position
                    shown[position][read.query_sequence[offset]] += 1
                    if entry.indel > 0:
                        extra = read.query_sequence[offset + 1 : offset + 1 + entry.indel]
                        inserted[position][extra] += 1


        def majority(counts, depth):
            """The reading that more than half of the reads share, or None."""
            if not counts:
                return None
            (reading, count), = counts.most_common(1)
            return reading if 2 * count > depth else None


        # One piece of consensus per reference position; pieces are of any length, so positions
        # that are missing or followed by an insertion need no bookkeeping.
        pieces, depths = [], []
        for position, base in enumerate(genome):
            depth = sum(shown[position].values())
            depths.append(depth)
            if depth < min_depth:
                pieces.append("N")
                continue
            reading = majority(shown[position], depth)
            piece = "N" if reading is None else reading
            pieces.append(piece + (majority(inserted[position], depth) or ""))

        # Differences from the reference. VCF writes an indel with the base before it.
        differences = []
        position = 0
        while position < len(genome):
            start = position
            position += 1
            while position < len(genome) and pieces[position] == "":
                position += 1
            old, new = genome[start:position], "".join(pieces[start:position])
            if old != new and "N" not in new and new:
                differences.append((start, old, new))

        header = pysam.VariantHeader()
        header.contigs.add(contig, length=len(genome))
        header.formats.add("GT", 1, "String", "Genotype")
        header.info.add("DP", 1, "Integer", "Reads that show the position")
        header.add_sample(sample)
        with pysam.VariantFile(f"{sample}.vcf", "w", header=header) as vcf:
            for start, old, new in differences:
                vcf.write(
                    vcf.new_record(
                        contig=contig,
                        start=start,
                        stop=start + len(old),
                        alleles=(old, new),
                        info={"DP": depths[start]},
                        samples=[{"GT": (1,)}],
                    )
                )

        consensus = "".join(pieces)
        with open(f"{sample}.consensus.fasta", "w") as outfile:
            print(f">{sample} consensus over {contig}", file=outfile)
            for start in range(0, len(consensus), 70):
                print(consensus[start : start + 70], file=outfile)
        with open(f"{sample}.coverage.tsv", "w") as outfile:
            print("contig", "position", "depth", sep="\t", file=outfile)
            for position, depth in enumerate(depths, start=1):
                print(contig, position, depth, sep="\t", file=outfile)
        with open("statistics.json", "w") as outfile:
            json.dump(
                {
                    "reference_length": len(genome),
                    "covered_bases": sum(depth >= min_depth for depth in depths),
                    "mean_depth": round(sum(depths) / len(genome), 2),
                    "variants": len(differences),
                    "consensus_length": len(consensus),
                },
                outfile,
            )
        PY
    >>>

    output {
        File consensus = "~{sample}.consensus.fasta"
        File variants = "~{sample}.vcf"
        File coverage_table = "~{sample}.coverage.tsv"
        Int reference_length = read_json("statistics.json")["reference_length"]
        Int covered_bases = read_json("statistics.json")["covered_bases"]
        Float mean_depth = read_json("statistics.json")["mean_depth"]
        Int variant_count = read_json("statistics.json")["variants"]
        Int consensus_length = read_json("statistics.json")["consensus_length"]
    }

    runtime {
        docker: docker
        cpu: 1
        memory: "2 GiB"
    }
}

task plot_coverage {
    meta {
        description: "Depth along the genome as a picture"
    }

    input {
        String sample
        File coverage_table
        Int min_depth
        String docker
    }

    command <<<
        set -euo pipefail
        # matplotlib wants a directory that it may write to
        export MPLCONFIGDIR="${TMPDIR:-/tmp}"
        python3 - '~{sample}' '~{coverage_table}' ~{min_depth} <<'PY'
        import csv
        import sys

        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        sample, table, min_depth = sys.argv[1], sys.argv[2], int(sys.argv[3])
        with open(table) as infile:
            depths = [int(row["depth"]) for row in csv.DictReader(infile, delimiter="\t")]
        figure, axes = pyplot.subplots(figsize=(10, 3.5), layout="constrained")
        axes.fill_between(range(1, len(depths) + 1), depths, step="mid", color="tab:blue")
        axes.axhline(min_depth, color="tab:red", linewidth=1, label=f"N below {min_depth}")
        axes.set(
            title=f"{sample}: read depth",
            xlabel="position on the reference",
            ylabel="reads",
            xlim=(1, len(depths)),
            ylim=(0, None),
        )
        axes.legend(loc="upper right")
        figure.savefig(f"{sample}.coverage.png", dpi=120)
        PY
    >>>

    output {
        File plot = "~{sample}.coverage.png"
    }

    runtime {
        docker: docker
        cpu: 1
        memory: "2 GiB"
    }
}
