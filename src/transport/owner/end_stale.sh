#!/bin/sh
# Ends what earlier runs on a lab still run on this host, and waits until it has ended. $1 lab, $2 host, $3 the mark of
# the present run. What is about to end by itself has a second to do so; a process that is left after ten is an error.
stale() {
    pids=
    # /proc/PID/environ, a zero byte behind each variable; `-s`: processes end meanwhile.
    for each in $(grep -sHaz -e "^NETLAB_RUN=$1:$2:" /proc/[0-9]*/environ | tr '\0' '\n'); do
        pid=${each#/proc/}
        case $each in
        *"/environ:NETLAB_RUN=$3") ;;
        *) pids="$pids ${pid%%/*}" ;;
        esac
    done
    [ -n "$pids" ]
}
left=100
while stale "$1" "$2" "$3"; do
    if [ "$left" = 0 ]; then
        echo "of an earlier run, these processes do not end:$pids" >&2
        exit 1
    fi
    # shellcheck disable=SC2086  # a word per process
    [ "$left" -gt 90 ] || kill -9 $pids 2>/dev/null
    sleep 0.1
    left=$((left - 1))
done
