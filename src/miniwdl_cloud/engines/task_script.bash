# Runs a WDL task's command in its container. Plain bash and coreutils; comments and blank lines are
# taken out before it becomes the job definition's command.
#
# From the environment:
#   MINIWDL_CLOUD_TASK_DIR  the task's run directory on the shared filesystem
#   MINIWDL_CLOUD_TRY       "" for the first attempt, then 2, 3, ...
#   MINIWDL_CLOUD_MANIFEST  in an array job, instead of these two: a file with a line a child, by its
#                           index: the directory, a tab, the attempt
#   MINIWDL_CLOUD_SHELL     interpreter of the command, e.g. /bin/bash -x
#   MINIWDL_CLOUD_SYNC      if set, flush the task's files before the job ends
#   MINIWDL_CLOUD_USAGE     seconds between two samples of what the container uses [10]; 0 for none
#   MINIWDL_CLOUD_CGROUP    where its cgroup is, if that is not known otherwise
#
# Exit codes of its own, without an exit code in its record (jobs/outcome.py knows them): 121, the
# shared filesystem is full; 122, another job has this task; 125, the shared filesystem fails.

# `step` calls the functions that seem uncalled.
# shellcheck disable=SC2329

# A shared filesystem may refuse for a moment what it does the next.
step() {
  for i in 0 1 2 ""; do
    e=$(export LC_ALL=C; "$@" 2>&1) && return
    [ -z "$i" ] || sleep "$i"
  done
  case $e in
    *"o space left"* | *"uota exceeded"*) stop 121 "the shared filesystem is full: $e" ;;
  esac
  stop 125 "the shared filesystem fails: $e"
}
stop() { echo "miniwdl-cloud: $2" >&2; exit "$1"; }
see() { : < "$MINIWDL_CLOUD_MANIFEST"; }

if [ -n "$MINIWDL_CLOUD_MANIFEST" ]; then
  step see
  mapfile -t -s "$AWS_BATCH_JOB_ARRAY_INDEX" -n 1 line < "$MINIWDL_CLOUD_MANIFEST"
  export MINIWDL_CLOUD_TASK_DIR=${line[0]%$'\t'*} MINIWDL_CLOUD_TRY=${line[0]##*$'\t'}
fi
d=$MINIWDL_CLOUD_TASK_DIR n=$MINIWDL_CLOUD_TRY
s=$d/task_status$n.txt
me=${AWS_BATCH_JOB_ID:-@${ECS_CONTAINER_METADATA_URI_V4##*/}} c=$d/claim$n
now() { if [ -n "$EPOCHREALTIME" ]; then echo "${EPOCHREALTIME/,/.}"; else date +%s; fi; }

# The kernel gives a first process no default signal handlers, so SIGTERM has to be passed on.
child=
trap 'terminated=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM INT

step cd "$d/work"; cd "$d/work" || exit 125
# Of two jobs for one task, one may run it: making a link is atomic, and its text says whose it is.
claim() { ln -sn "$me" "$c" || { h=$(readlink "$c") && { [ "$h" = "$me" ] || echo "held by $h"; }; }; }
step claim
case $e in *$'\n'"held by "*) stop 122 "another job has this task: $e" ;; esac
start=$(now)
begin() { echo "start=$start" > "$s"; }
step begin
# Scratch space of the worker, unless the task has its own idea.
export TMPDIR=${TMPDIR:-/tmp}
# shellcheck source=/dev/null
[ ! -f ../env.sh ] || . ../env.sh

# Standard error goes to its file and to the job's log. tee holds the pipe to us open as its
# descriptor 6, unused: its end tells that all was written, and the job may end.
coproc TEE { exec tee -a "../stderr$n.txt" 6>&1 >&3; } 3>&2
exec 4<&"${TEE[0]}" 5>&"${TEE[1]}"
eval "exec ${TEE[1]}>&-"

# Only a first process knows its cgroup to be the container's own.
u=${MINIWDL_CLOUD_USAGE:-10} g=$MINIWDL_CLOUD_CGROUP
[ $$ != 1 ] || g=/sys/fs/cgroup
# A sample: time, microseconds of CPU, bytes of memory that the page cache cannot give back, KiB in
# use on the disk for temporary files.
sample() {
  b=$g/memory
  if [ -e "$g/cpu.stat" ] && [ -e "$g/memory.current" ]; then
    read -r _ c < "$g/cpu.stat"; read -r m < "$g/memory.current"; b=$g
  else
    read -r c < "$g/cpuacct/cpuacct.usage"; read -r m < "$b/memory.usage_in_bytes"; c=${c%???}
  fi
  [ -n "$m" ] || return
  # In version 1, the container's whole has its own name, and comes later.
  while read -r k v; do
    case $k in inactive_file | total_inactive_file) f=$v ;; esac
  done < "$b/memory.stat"
  k=$(df -Pk "$TMPDIR")
  # shellcheck disable=SC2086
  set -- ${k##*$'\n'}
  l="$(now) ${c:-0} $((m - f)) ${3:-0}"
}
# Standard input is empty until standard error ends, and tells the time. The file is kept to 240
# lines by leaving out every second one, and taking half as many from then on.
watch() {
  trap - TERM INT
  a=()
  while sample; do
    a+=("$l")
    if [ "${#a[@]}" -lt 240 ]; then
      echo "$l"
    else
      for ((i = 1; i < 240; i += 2)); do unset "a[i]"; done
      a=("${a[@]}") u=$((u * 2))
      exec > "$d/usage$n.txt"
      printf '%s\n' "${a[@]}"
    fi
    IFS= read -r -t "$u" _; [ $? -gt 128 ] || exit 0
  done
}
w=
if [ -n "$g" ] && [ "$u" -gt 0 ]; then watch <&4 > "$d/usage$n.txt" 2> /dev/null 4<&- 5>&- & w=$!; fi
$MINIWDL_CLOUD_SHELL ../command >> "../stdout$n.txt" 2>&5 4<&- 5>&- &
child=$!
[ -z "$terminated" ] || kill -TERM "$child" 2>/dev/null
exec 5>&-
wait "$child"; code=$?
# A trapped signal ends `wait` early.
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
# What a terminated command leaves running may hold it open; then little is left to wait for.
IFS= read -r -t "${terminated:-5}" -u 4 _

[ -z "$w" ] || { kill "$w"; wait "$w"; sample && echo "$l" >> "$d/usage$n.txt"; } 2> /dev/null
[ -z "$MINIWDL_CLOUD_SYNC" ] || find . "../stdout$n.txt" "../stderr$n.txt" -type f -exec sync {} +
peak=
for f in /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes; do
  if [ $$ = 1 ] && [ -r "$f" ]; then read -r peak < "$f"; break; fi
done
finish() {
  printf 'start=%s\nend=%s\npeak_memory_bytes=%s\nexit_code=%s\n' \
    "$start" "$(now)" "$peak" "$code" > "$s.new" && mv -f "$s.new" "$s"
}
step finish
exit "$code"
