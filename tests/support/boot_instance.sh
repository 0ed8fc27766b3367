#!/bin/sh
# The first process of a machine that is a set of namespaces (tests/support/booted.py): DIRECTORY ADDRESS/BITS.
# Its /var/lib, /run and boot id are its own; `shutdown` in DIRECTORY/bin ends it, and nothing else.
set -eu
directory=$1 address=$2
trap 'exit 0' TERM
echo up
mount --bind "$directory/var-lib" /var/lib
mount -t tmpfs tmpfs /run
mount --bind "$directory/boot-id" /proc/sys/kernel/random/boot_id
until ip link show lan > /dev/null 2>&1; do sleep 0.02; done
ip link set lo up
ip addr add "$address" dev lan
ip link set lan up
for script in /var/lib/cloud/scripts/per-boot/* /var/lib/cloud/instance/scripts/*; do
    if [ -x "$script" ]; then
        "$script" > "$directory/boot.log" 2>&1 &
        wait $! || echo "$script failed" >> "$directory/boot.log"  # Unlike the program itself, a wait can be ended.
    fi
done
while :; do sleep 1000 & wait $!; done
