version 1.1

import "structs.wdl"
import "assemble_sample.wdl" as assembly

workflow viral_assembly {
    meta {
        description: "Reference-based consensus genomes from paired viral reads, one per sample"
    }

    parameter_meta {
        reads: "Unaligned paired reads, one BAM per sample, mates next to each other"
        reference: "Reference genome, one FASTA record"
        min_depth: "Positions covered by fewer reads become N"
        docker: "Image with Python 3, mappy, pysam and matplotlib"
    }

    input {
        Array[File]+ reads
        File reference
        Int min_depth = 3
        String docker = "miniwdl-cloud-demo:latest"
    }

    scatter (bam in reads) {
        call assembly.assemble_sample {
            input:
                sample = basename(bam, ".bam"),
                reads = bam,
                reference = reference,
                min_depth = min_depth,
                docker = docker
        }
    }

    call summarize {
        input:
            reports = assemble_sample.report,
            docker = docker
    }

    output {
        File summary = summarize.table
        Array[SampleReport] reports = assemble_sample.report
        Array[File] consensus = assemble_sample.consensus
        Array[File] variants = assemble_sample.variants
        Array[File] coverage_table = assemble_sample.coverage_table
        Array[File] coverage_plot = assemble_sample.coverage_plot
        Array[File] aligned = assemble_sample.aligned
        Array[File] aligned_index = assemble_sample.aligned_index
    }
}

task summarize {
    meta {
        description: "One table row per sample"
    }

    input {
        Array[SampleReport] reports
        String docker
    }

    command <<<
        python3 - '~{write_json(reports)}' <<'PY'
        import csv
        import json
        import sys

        with open(sys.argv[1]) as infile:
            reports = json.load(infile)
        with open("summary.tsv", "w", newline="") as outfile:
            table = csv.DictWriter(
                outfile, list(reports[0]), delimiter="\t", lineterminator="\n"
            )
            table.writeheader()
            table.writerows(reports)
        PY
    >>>

    output {
        File table = "summary.tsv"
    }

    runtime {
        docker: docker
        cpu: 1
        memory: "1 GiB"
    }
}
