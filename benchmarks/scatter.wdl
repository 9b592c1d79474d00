version 1.0

# As many trivial tasks at once as asked for. What they cost is what the way to them costs.
workflow scatter_shards {
    input {
        Int shards
        # Makes the tasks of one run unlike those of another, so that none is found in a call cache
        String label
    }

    scatter (number in range(shards)) {
        call shard {
            input:
                number = number,
                label = label
        }
    }

    output {
        Array[Int] squares = shard.square
        Array[File] lines = shard.line
    }
}

task shard {
    input {
        Int number
        String label
    }

    command <<<
        echo "shard ~{number} of ~{label}" > line.txt
        echo $(( ~{number} * ~{number} ))
    >>>

    output {
        Int square = read_int(stdout())
        File line = "line.txt"
    }

    runtime {
        cpu: 1
        memory: "1 GiB"
    }
}
