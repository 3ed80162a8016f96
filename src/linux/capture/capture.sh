#!/bin/sh
# Counts echo requests, echo replies and ARP packets on every link of a network namespace.
# start FOLDER SECONDS SIZE…: counts in the background, echoes of these payload sizes only; the program that counts is
# standard input. Returns when it counts. What nobody collects ends and removes itself after SECONDS.
# collect FOLDER: ends it, prints what was counted and removes the folder.
PATH=$PATH:/usr/sbin:/sbin
folder=$2
# Whether the process that counts has not ended: its number may be that of another process by now.
# shellcheck disable=SC3013  # -ef: dash and busybox have it
counts() { [ "/proc/$program/fd/1" -ef "$folder/counts" ]; }
case $1 in
start)
    seconds=$3
    shift 3
    umask 077
    mkdir -p "$folder" || exit 1
    cat >"$folder/capture.pl"
    if command -v perl >/dev/null; then
        perl "$folder/capture.pl" "$seconds" "$@" >"$folder/counts" 2>"$folder/errors" </dev/null &
    elif command -v tcpdump >/dev/null; then
        timeout "$seconds" tcpdump -i any -nn -l 'icmp or arp' >"$folder/counts" 2>"$folder/errors" </dev/null &
    else
        rm -rf "$folder"
        exit 127
    fi
    program=$!
    echo $program >"$folder/pid"
    # Not a child of this shell any more when it ends: it waits by the process's existence.
    (
        left=$((seconds + 2))
        while sleep 1 && [ $left -gt 0 ] && counts; do left=$((left - 1)); done
        [ -e "$folder/collected" ] || rm -rf "$folder"
    ) >/dev/null 2>&1 </dev/null &
    echo $! >"$folder/guard"
    left=40
    while [ $left -gt 0 ]; do
        grep -q -e '^ready' -e '^listening' "$folder/counts" "$folder/errors" 2>/dev/null && exit 0
        sleep 0.1
        left=$((left - 1))
    done
    exit 1
    ;;
collect)
    : >"$folder/collected" || exit 1
    read -r program <"$folder/pid"
    read -r guard <"$folder/guard"
    ! counts || kill "$program" 2>/dev/null
    left=20
    while [ $left -gt 0 ] && counts; do
        sleep 0.1
        left=$((left - 1))
    done
    # The guard has the folder as an argument.
    ! grep -sqxz -e "$folder" "/proc/$guard/cmdline" || kill "$guard" 2>/dev/null
    cat "$folder/counts"
    rm -rf "$folder"
    rmdir "${folder%/*}" 2>/dev/null
    true
    ;;
esac
