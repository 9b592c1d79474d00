version 1.1

# What one sample's assembly came to; one row of the summary table.
struct SampleReport {
    String sample
    Int reads
    Int mapped_reads
    Int reference_length
    Int covered_bases
    Float mean_depth
    Int variants
    Int consensus_length
}
