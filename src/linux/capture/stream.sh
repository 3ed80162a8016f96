#!/bin/sh
# Captures frames of one link as a pcap file on standard output: LINK COUNT FILTER PROGRAM. COUNT 0: without end; FILTER: as
# pcap-filter(7), may be empty; PROGRAM: what reads packets where tcpdump is not installed. Ends with the frames wanted, or
# with the end of standard input: then nobody reads any more.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
link=$1 count=$2 filter=$3 program=$4
set -f
exec 3<&0
if command -v tcpdump >/dev/null; then
    set -- -i "$link" -n -U --immediate-mode -w -
    [ "$count" = 0 ] || set -- "$@" -c "$count"
    # shellcheck disable=SC2086  # the words of a filter
    tcpdump "$@" -- $filter </dev/null 3<&- &
elif [ -n "$filter" ]; then
    echo 'a filter needs tcpdump, which is not installed there' >&2
    exit 127
elif command -v perl >/dev/null; then
    perl -e "$program" "$link" "$count" </dev/null 3<&- &
else
    echo 'neither tcpdump nor perl is installed there' >&2
    exit 127
fi
capturing=$!
# `read` is of the shell itself: nothing is left when this is ended.
(
    read -r _ <&3
    kill "$capturing"
) >/dev/null 2>&1 &
guard=$!
wait "$capturing"
status=$?
kill "$guard" 2>/dev/null
exit $status
