# shellcheck shell=sh disable=SC2016,SC2046,SC2086,SC2154
# Asks services and paths with the programs that this guest has, a line each between two marks $w. Given: $w, and
# the option `set -f`. $1 is the number of the question. Each program is ended after some seconds.
h() { type $1 >/dev/null 2>&1; }
T=; if timeout 1 true; then T="timeout 8"; elif timeout -t 1 true; then T="timeout -t 8"; fi 2>/dev/null
# y NUMBER PROGRAM STATUS TEXT: prints an answer on one line.
y() { echo "$w ?$1 [ $2 $3" $(printf %s "$4" | tr '\n\r\t' '|  ' | tr -cd '\040-\176') "] ?$1 $w"; }
#tcp NUMBER HOST PORT: connects. Busybox's nc runs a program once it is connected, others have -z.
c() { s=0; if h nc; then v=nc; case $(nc -h 2>&1) in *BusyBox*) v=busybox; r=$($T nc -w 5 $2 $3 -e true </dev/null 2>&1) || s=$?
case $r in *"option -- "*e*) s=0; r=$($T nc -w 5 $2 $3 </dev/null 2>&1 >/dev/null) || s=$?;; esac;;
*) r=$($T nc -zv -w 5 $2 $3 </dev/null 2>&1 >/dev/null) || s=$?;; esac
elif h bash; then v=bash; r=$($T bash -c 'exec 3<>/dev/tcp/$0/$1' $2 $3 2>&1) || s=$?
elif h python3; then v=python3; r=$($T python3 -c 'import socket,sys; socket.create_connection((sys.argv[1],sys.argv[2]),5)' $2 $3 2>&1) || s=$?
else v=none; r=; fi; y $1 $v $s "$r"; }
#http NUMBER URL TEXT: gets a page; each line of the page begins with `=`, all else is what the program printed.
g() { if h curl; then v=curl; o='curl -vsSL -m 8'; elif h wget; then v=wget; o="$T wget -S -O -"; else y $1 none 0; return; fi
r=$( { $o "$2" 2>&4 | head -c 65536 | sed 's/^/=/'; } 4>&1 )
m=0; [ -z "$3" ] || ! printf '%s\n' "$r" | grep '^=' | grep -qF -e "$3" || m=1
y $1 $v $m "$(printf '%s\n' "$r" | grep -v '^[=>]' | grep -e HTTP/ -e curl: -e wget: -e rror -e nable -e imed -e efused -e oute | head -c 400)
$(printf '%s\n' "$r" | grep '^=' | head -c 160)"; }
#dns NUMBER NAME: asks the name servers of /etc/resolv.conf, or by getent whatever the guest resolves names with.
d() { s=0; if h dig; then v=dig; set -- $1 dig +time=2 +tries=2 $2 A; elif h drill; then v=drill; set -- $1 drill $2 A; elif h host; then v=host; set -- $1 host -W 3 -t A $2
elif h nslookup; then v=nslookup; set -- $1 nslookup $2; elif h getent; then v=getent; set -- $1 getent ahostsv4 $2; else y $1 none 0; return; fi
n=$1; shift; r=$($T "$@" 2>&1) || s=$?; y $n $v $s "$r"; }
#ping NUMBER HOST SIZE: pings, with SIZE bytes of payload that must not be fragmented.
i=; m=; ping -q -c1 -i0.2 -W1 127.0.0.1 >/dev/null 2>&1 && i=-i0.2; ping -q -M "do" -c1 -W1 127.0.0.1 >/dev/null 2>&1 && m="-M do"
k() { s=0; r=$(ping -q -c3 -W1 $i ${3:+$m -s$3} $2 2>&1) || s=$?; y $1 ping $s "$r"; }
