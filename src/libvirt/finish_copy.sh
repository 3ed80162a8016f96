#!/bin/sh
# Checks the digest $1 of the complete copy $2 and renames it to $3, on disk first.
echo "$1  $2" | sha256sum -c --status || exit 1
sync "$2" 2>/dev/null || sync
mv "$2" "$3"
