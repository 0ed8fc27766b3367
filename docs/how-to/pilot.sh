#!/bin/sh
# A pilot: HAL's agent inside of an allocation of Slurm. HAL fills in the node and the join token. Change the next four
# lines: they are of the machine that Slurm starts this on. It needs HAL, the cluster's configuration and a way to the
# daemon, and nothing needs a way to it.
hal=/shared/hal/bin/hal
configuration=/shared/hal/cluster.yaml
server=login1.example.org:7444
directory=/tmp

[ "${SLURM_RESTART_COUNT:-0}" = 0 ] || exit 1 # a token is good once: HAL orders another pilot
state=$(mktemp -d "$directory/hal-pilot-XXXXXX") && chmod 0711 "$state" || exit 1
leave() {
    pkill -TERM -f "$state" # what an agent that was killed has left, jobs too: not every Slurm ends them
    tries=30                # seconds, as Slurm gives by itself; a job has five to end unless it asked for more
    while [ "$tries" -gt 0 ] && pgrep -f "$state" >/dev/null; do
        tries=$((tries - 1))
        sleep 1
    done
    rm -rf "$state"
}
trap leave EXIT
trap 'exit 1' TERM
enroll() {
    "$hal" agent enroll --server "$server" --node {node} --state "$state" <<'END'
{join_token}
END
}
tries=60 # for the daemon may be away for a moment
until enroll; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 1
    sleep 5
done
is_over=
trap 'is_over=yes' TERM # Slurm tells all processes at once: the agent takes its leave, and then its state goes
while [ -z "$is_over" ]; do
    "$hal" agent "$configuration" --node {node} --state "$state"
    code=$?
    [ "$code" -gt 128 ] || exit "$code"
    sleep 1 # it was killed, and what runs here lives on: the next agent finds it
done
