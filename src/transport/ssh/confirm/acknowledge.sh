#!/bin/sh
# Removes a confirmation that netlab has read. $1 folder, $2 token.
rm -f "$1/$2.ok"
rmdir "$1" 2>/dev/null || true
