#!/bin/sh
# Sets a kernel setting for a lab. $1 folder, $2 key, $3 lab, $4 value, $5 the setting's file.
# The old value is complete on disk before the lab's mark, and the mark before the change: a run that is killed in
# between can be undone. The lock is on the folder itself, which the last lab removes: a run that waited for the
# lock of a removed folder creates it again.
set -eu
umask 077
while :; do
    mkdir -p "$1" || mkdir -p "$1"
    command exec 9<"$1" || continue
    flock 9
    # shellcheck disable=SC3013  # -ef: dash and busybox have it
    if [ "$1" -ef /proc/self/fd/9 ]; then break; fi
done
if ! [ -e "$1/$2" ]; then
    cat "$5" >"$1/.new"
    mv "$1/.new" "$1/$2"
fi
printf '%s\n' "$4" >"$1/.new"
mv "$1/.new" "$1/$2.$3"
printf '%s\n' "$4" >"$5"
