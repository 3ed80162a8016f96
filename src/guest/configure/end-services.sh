# shellcheck shell=sh disable=SC2086
# Ends the services that an earlier configuration started: see serve.sh.
end_services() { for f in /run/netlab/serve-*.pid; do [ -e $f ] || continue; read -r p <$f; grep -q netlab/serve- /proc/$p/cmdline && kill $p; rm -f ${f%.pid}*; done 2>/dev/null; }
