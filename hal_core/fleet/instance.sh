#!/bin/sh
# Makes this machine the node {node} of HAL until its lease is over. Runs as root, at every boot.
set -u
umask 022
PATH=$PATH:/opt/hal/bin
node='{node}'
server='{server}'
state=/var/lib/hal-nodes/$node
lease=$state/instance-lease
per_boot=/var/lib/cloud/scripts/per-boot

mkdir -p -m 755 "${state%/*}" && mkdir -p -m 711 "$state"
exec >> "$state/instance.log" 2>&1
if [ -d "$per_boot" ] && [ "$0" != "$per_boot/hal-instance" ]; then
    install -m 700 "$0" "$per_boot/hal-instance"
fi

end() {
    echo "this machine ends: $1"
    shutdown -h now
}

# First of all: the machine ends when its lease is over, whatever becomes of the rest. The agent, if there is one, knows
# of longer leases, writes them down, and ends the machine in good order half a minute earlier.
read -r up _ < /proc/uptime
up=${up%.*}
left=$(({lease_until} - $(date +%s)))
[ "$left" -lt {lease_s} ] || left={lease_s}
[ "$left" -gt 0 ] || left=0
first=$((up + left))
is_over() {
    read -r now _ < /proc/uptime
    now=${now%.*}
    if ! read -r boot_id deadline until _ 2> /dev/null < "$lease"; then
        [ "$now" -ge $((first + 30)) ]
    elif [ "$boot_id" = "$(cat /proc/sys/kernel/random/boot_id)" ]; then
        [ "$now" -ge $((${deadline%.*} + 30)) ]
    else
        [ "$(date +%s)" -ge $((${until%.*} + 30)) ]
    fi
}
(while :; do if is_over; then end "its lease is over"; fi; sleep 10; done) &

# The metadata service shows user data, and the keys of the instance's role: it is for root only, and not for jobs.
close() {
    ip "$1" rule del to "$2" uidrange 1-4294967294 priority 1 prohibit 2> /dev/null
    ip "$1" rule add to "$2" uidrange 1-4294967294 priority 1 prohibit
}
if ! close -4 169.254.169.254 || ! close -4 100.100.100.200 || { [ -e /proc/net/if_inet6 ] && ! close -6 fd00:ec2::254; }
then
    end "jobs could reach the metadata service"
    exit 1
fi

if ! command -v hal > /dev/null; then
    python3 -m venv /opt/hal && /opt/hal/bin/pip install --quiet '{wheel}'
fi

cat > "$state/node.yaml" << 'YAML'
{configuration}
YAML

enroll() {
    hal agent enroll --server "$server" --node "$node" --state "$state" << 'TOKEN'
{join_token}
TOKEN
}
until [ -e "$state/tls/agent.pem" ] || enroll; do sleep 5; done

read -r up _ < /proc/uptime
left=$((first - ${up%.*}))
[ "$left" -gt 0 ] || left=0
set -- "$(command -v hal)" agent "$state/node.yaml" --node "$node" --state "$state" --lease "${left}s" {notices}
if [ -d /run/systemd/system ]; then
    systemd-run --unit=hal-agent --property=Delegate=yes --property=KillMode=process \
        --property=Restart=always --property=RestartSec=5 -- "$@"
else
    (while :; do "$@"; sleep 5; done) &
fi
