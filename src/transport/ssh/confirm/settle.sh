#!/bin/sh
# Cancels the pending rollbacks that earlier runs on a lab left behind, or removes what is left of one that was confirmed.
# $1 folder, $2 lab or token. A rollback that is running is waited for, up to 10 seconds.
for token in "$1/$2".*; do
    case $token in
    *.undo) ;;
    *.ok) rm -f "$token" ;;
    *) mv "$token" "$token.ok" 2>/dev/null && rm -f "$token.ok" ;;
    esac
done
rolling_back() {
    for token in "$1/$2".*.undo; do
        [ -e "$token" ] && return 0
    done
    return 1
}
left=100
while [ "$left" -gt 0 ] && rolling_back "$1" "$2"; do
    sleep 0.1
    left=$((left - 1))
done
# The timers have nothing left to decide, but would sleep for up to a second. A timer is a process group of its own, and
# has its token as an argument.
for timer in "$1/.$2".*timer; do
    token=${timer##*/.}
    token=${token%.timer}
    read -r pid 2>/dev/null <"$timer" || continue
    if grep -sqxz -e "$token" "/proc/$pid/cmdline"; then
        kill -9 "-$pid" 2>/dev/null
    fi
done
rm -f "$1/.$2" "$1/.$2".*
rmdir "$1" 2>/dev/null
case $1 in */netlab/*) rmdir "${1%/*}" 2>/dev/null ;; esac
exit 0
