#!/bin/sh
# Confirms the change and prints what the host has decided: `kept`, `rolled-back` or `undecided`.
# $1 folder, $2 token. The answer may get lost, so the decision stays on disk: asking again gives the same answer.
mv "$1/$2" "$1/$2.ok" 2>/dev/null
if [ -e "$1/$2.ok" ]; then
    echo kept
elif [ -e "$1/$2" ] || [ -e "$1/$2.undo" ]; then
    echo undecided
else
    echo rolled-back
fi
