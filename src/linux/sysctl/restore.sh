#!/bin/sh
# Removes a lab's claim on a kernel setting; the last one restores the old value.
# $1 folder, $2 key, $3 lab, $4 unused, $5 the setting's file. The lab's mark goes last: a run that is killed in
# between is repeated.
set -eu
[ -d "$1" ] || exit 0
command exec 9<"$1" || exit 0
flock 9
[ -e "$1/$2.$3" ] || exit 0
for mark in "$1/$2".*; do
    if [ "$mark" != "$1/$2.$3" ]; then
        rm "$1/$2.$3"
        exit 0
    fi
done
if [ -s "$1/$2" ]; then cat "$1/$2" >"$5"; fi
rm -f "$1/$2" "$1/$2.$3" "$1/.new"
rmdir "$1" 2>/dev/null || exit 0
case $1 in */netlab/*) rmdir "${1%/*}" 2>/dev/null || : ;; esac
