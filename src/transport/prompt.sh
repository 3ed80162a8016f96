#!/bin/sh
# Opens a shell on the machine $1, which its prompt names: bash, which edits lines, where there is one.
if command -v bash >/dev/null; then
  # bash runs it before each prompt, so after ~/.bashrc has set one.
  exec env PROMPT_COMMAND="PS1='$1:\\w# '" bash
fi
exec env PS1="$1# " sh
