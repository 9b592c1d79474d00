version 1.0

# Tasks that only wait; `step_ms` makes each end later than the one before.
workflow sleeps {
    input {
        Int tasks
        Int base_ms
        Int step_ms
        # Makes the tasks of one run unlike those of another, so that none is found in a call cache
        String label
    }

    scatter (number in range(tasks)) {
        call nap {
            input:
                number = number,
                milliseconds = base_ms + number * step_ms,
                label = label
        }
    }

    output {
        Array[Int] numbers = nap.done
    }
}

task nap {
    input {
        Int number
        Int milliseconds
        String label
    }

    command <<<
        # ~{label}
        sleep "$(printf '%d.%03d' $(( ~{milliseconds} / 1000 )) $(( ~{milliseconds} % 1000 )))"
        echo ~{number}
    >>>

    output {
        Int done = read_int(stdout())
    }

    runtime {
        cpu: 1
        memory: "1 GiB"
    }
}
