#!/bin/sh
# Cancels the pending rollbacks that earlier runs on a lab left behind. $1 folder, $2 lab.
# A rollback that is running is waited for, up to 10 seconds.
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
rmdir "$1" 2>/dev/null || true
