# shellcheck shell=sh disable=SC2016,SC2086
# Services that answer with a text. Files and process ids are in /run/netlab, which a reboot empties.
# `serve` PORT TEXT starts one, by busybox or python3. It reads a request line for at most 2 seconds, answers HTTP requests
# by HTTP (RFC 9112) and everything else by the text alone. Those of an earlier configuration have been ended.
listens() { grep -qi ": [0-9A-F]*:$(printf %04X $1) [0-9A-F]*:0000 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null; }
free() { n=20; while listens $1; do n=$((n-1)); [ $n -gt 0 ] || { echo another program already uses port $1; return 1; }; sleep 0.1; done; }
serve() { free $1 || return; mkdir -p /run/netlab; f=/run/netlab/serve-$1; printf '%s\n' "$2" >$f.text
if busybox nc -h 2>&1 | grep -q -e '-e PROG'; then printf '%s\n' 'c=$(printf "\r"); read -r t <$0.text; h=; read -t 2 -r h' 'case $h in *" HTTP/"*) while read -t 2 -r l && [ -n "${l%$c}" ]; do :; done' 'printf "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %s\r\nConnection: close\r\n\r\n" $((${#t}+1))' 'case $h in HEAD*) exit; esac; esac' 'printf "%s\n" "$t"' >$f
set -- $1 busybox nc -ll -p $1 -e busybox sh $f
elif type python3 >/dev/null 2>&1; then printf '%s\n' 'import socketserver as s,sys' 't=open(sys.argv[0]+".text","rb").read()' 'class H(s.StreamRequestHandler):' ' timeout=2' ' def handle(self):' '  h=b""' '  try:' '   h=l=self.rfile.readline(9999)' '   while b" HTTP/" in h and l.strip(): l=self.rfile.readline(9999)' '  except OSError: pass' '  if b" HTTP/" in h: self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"%len(t))' '  if h[:4]!=b"HEAD": self.wfile.write(t)' 's.ThreadingTCPServer.allow_reuse_address=True' 's.ThreadingTCPServer(("",int(sys.argv[1])),H).serve_forever()' >$f
set -- $1 python3 $f $1
else echo the guest has neither busybox with nc nor python3; return 1; fi
p=$1; shift; (setsid sh -c 'echo $$ >$0.pid; exec "$@"' $f "$@" </dev/null >/dev/null 2>&1 &)
n=50; until listens $p; do n=$((n-1)); [ $n -gt 0 ] || { echo nothing listens on port $p; return 1; }; sleep 0.1; done; }
