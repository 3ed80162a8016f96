#!/bin/sh
# Makes the host run the rollback unless it is confirmed in time.
# $1 folder, $2 token, $3 seconds until the rollback, $4 seconds that a confirmation is kept to be read.
# Standard input: the rollback, lines for `ip -batch` and commands of ovs-vsctl, which run first. Renaming the token is the decision: the first rename wins.
set -eu
umask 077
# The timer outlives the run on purpose.
unset NETLAB_RUN
mkdir -p "$1" || mkdir -p "$1"
cat >"$1/.$2"
mv "$1/.$2" "$1/$2"
# shellcheck disable=SC2016  # expanded by the inner shell
setsid sh -c '
    wait_while_exists() {
        while [ "$left" -gt 0 ] && [ -e "$1" ]; do
            sleep 1
            left=$((left - 1))
        done
    }
    left=$3
    wait_while_exists "$1/$2"
    if mv "$1/$2" "$1/$2.undo" 2>/dev/null; then
        # Lines for another program than ip(8) begin with its name.
        grep "^ovs-vsctl " "$1/$2.undo" | while read -r line; do timeout 20 $line; done
        grep -v "^ovs-vsctl " "$1/$2.undo" | ip -force -batch -
        rm -f "$1/$2.undo"
    else
        left=$((left + $4))
        wait_while_exists "$1/$2.ok"
        rm -f "$1/$2.ok"
    fi
    rm -f "$1/.$2.timer"
    rmdir "$1" 2>/dev/null
    case $1 in */netlab/*) rmdir "${1%/*}" 2>/dev/null ;; esac
' sh "$1" "$2" "$3" "$4" </dev/null >/dev/null 2>&1 &
echo $! >"$1/.$2.timer"
