//! The scripts that run on the host. They are constant; names come as arguments, everything else as input.

/// What all of them begin with; `$1` is the folder of all servers.
///
/// `alive` says whether the server of folder `$1` lives, and leaves its process number in `pid`. The command line of a
/// process is words that end with a zero byte each, which shells leave out. `leave` removes the folder, and that of
/// netlab around it, where nothing is left in them.
const BEGIN: &str = r#"set -u
umask 077
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
base=$1; shift
alive() {
    pid=; line=
    read -r pid 2>/dev/null <"$1/pid" || [ -n "$pid" ] || return 1
    { read -r line <"/proc/$pid/cmdline"; } 2>/dev/null
    case $line in *"dnsmasq--conf-file=$1/conf--"*) return 0 ;; esac
    return 1
}
end() {
    tries=0
    while alive "$1"; do
        case $tries in
        0) kill "$pid" ;;
        100) kill -9 "$pid" ;;
        200) return 1 ;;
        esac
        tries=$((tries + 1))
        sleep 0.05
    done
    rm -rf "$1"
}
leave() {
    rmdir "$base" 2>/dev/null || return 0
    case $base in */netlab/*) rmdir "${base%/*}" 2>/dev/null ;; esac
}
"#;

/// Prints `<network> alive|dead <record>` for each server of lab `$1`.
const OBSERVE: &str = r#"
for folder in "$base/$1".*; do
    [ -d "$folder" ] || continue
    record=
    { read -r record <"$folder/record"; } 2>/dev/null
    if alive "$folder"; then state=alive; else state=dead; fi
    printf '%s %s %s\n' "${folder#"$base/$1."}" "$state" "$record"
done
"#;

/// Stops the servers of the folders `$@`: all are told first, then waited for.
const STOP: &str = r#"
for name; do
    if alive "$base/$name"; then kill "$pid"; fi
done
at=0
for name; do
    end "$base/$name" || { echo "failed $at process $pid, the server in $base/$name, does not end"; exit 0; }
    at=$((at + 1))
done
leave
exit 0
"#;

/// Starts the servers that the input describes; `$1` is [`PROBE`]. In a folder the record comes first, so that
/// whatever is there is known.
///
/// A second server on a bridge would start and say nothing: who listens there already is asked of the kernel, and who
/// answers from the wire, of the wire.
const START: &str = r#"
probe=$1
command -v dnsmasq >/dev/null || { echo "failed 0 dnsmasq is not installed here (on Debian: dnsmasq-base)"; exit 0; }
mkdir -p "$base" || exit 1
names= asked=
while read -r kind rest; do
    case $kind in
    network)
        set -- $rest
        name=$1 bridge=$2 gateway=$3 folder=$base/$1
        end "$folder" || { echo "failed 0 process $pid, the server in $folder, does not end"; exit 0; }
        mkdir "$folder" || exit 1
        names="$names $name,$bridge,$gateway"
        ;;
    record) printf '%s\n' "$rest" >"$folder/new" && mv "$folder/new" "$folder/record" || exit 1 ;;
    conf) printf '%s\n' "$rest" >>"$folder/conf" || exit 1 ;;
    esac
done
listening=$(ss -Hulnp 'sport = :67' 2>/dev/null)
ports=$(ip -o link show type bridge_slave 2>/dev/null)
for each in $names; do
    each=${each#*,} bridge=${each%%,*}
    # Where a bridge has no port there is nobody to ask.
    case $ports in *" master $bridge "*) asked="$asked $each" ;; esac
done
answers=
if [ -n "$asked" ] && command -v perl >/dev/null; then
    answers=$(perl -e "$probe" $asked)
fi
at=0 why=
for each in $names; do
    name=${each%%,*} each=${each#*,}
    bridge=${each%%,*} folder=$base/$name
    if [ -n "$why" ]; then rm -rf "$folder"; continue; fi
    case $listening in
    *"%$bridge:67 "*)
        who=${listening#*"%$bridge:67 "} who=${who%%"
"*}
        why="another DHCP server of this host listens on $bridge already: ${who##* }" ;;
    esac
    case $answers in
    *"answer $bridge "*)
        who=${answers#*"answer $bridge "} who=${who%%"
"*}
        why="another DHCP server answers on $bridge, from $who; end it, or leave out the network's \`dhcp\`" ;;
    esac
    if [ -z "$why" ] && ! dnsmasq --conf-file="$folder/conf" --pid-file="$folder/pid" \
        --dhcp-leasefile="$folder/leases" </dev/null >"$folder/said" 2>&1; then
        why=$(tr '\n' ' ' <"$folder/said")
    fi
    if [ -n "$why" ]; then printf 'failed %s %s\n' "$at" "$why"; rm -rf "$folder"; continue; fi
    rm -f "$folder/said"
    at=$((at + 1))
done
leave
exit 0
"#;

/// Asks each `<bridge>,<gateway>` for DHCP servers and prints `answer <bridge> <address>` for those there are; takes
/// two seconds for all of them together. Perl, because a plain Debian has it and no other program that can.
///
/// Asked as the gateway who wants only options (RFC 2131, 3.4) and then as somebody without an address (3.1): dnsmasq
/// looks for three seconds whether an address is free before it offers it, but answers the first at once.
pub(super) const PROBE: &str = r#"
use strict; use Socket;
my %asked;
for (@ARGV) {
    my ($bridge, $gateway) = split /,/;
    socket(my $socket, PF_INET, SOCK_DGRAM, 0) or next;
    setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
    setsockopt($socket, SOL_SOCKET, SO_BROADCAST, 1);
    setsockopt($socket, SOL_SOCKET, 25, "$bridge\0") or next; # SO_BINDTODEVICE
    bind($socket, sockaddr_in(68, INADDR_ANY)) or next;
    my ($id, $mac) = (pack('N', int rand 2**32), pack('C6', 2, map { int rand 256 } 1 .. 5));
    my @packets;
    for ([8, inet_aton($gateway)], [1, INADDR_ANY]) {
        my ($type, $own) = @$_;
        push @packets, pack('C4 a4 n2 a4 x12 a16 x192 a4 C3 C6 C x20',
            1, 1, 6, 0, $id, 0, 0x8000, $own, $mac, "\x63\x82\x53\x63", 53, 1, $type, 55, 4, 1, 3, 6, 51, 255);
    }
    $asked{fileno $socket} = [$socket, $bridge, $id, \@packets];
}
my ($gone, $sent, %told) = (0, 0);
while ($gone < 2) {
    if ($gone >= $sent) {
        for (values %asked) {
            my ($socket, undef, undef, $packets) = @$_;
            send($socket, $_, 0, sockaddr_in(67, INADDR_BROADCAST)) for @$packets;
        }
        $sent++;
    }
    my $ready = '';
    vec($ready, $_, 1) = 1 for keys %asked;
    my ($count, $left) = select($ready, undef, undef, 0.1);
    $gone += 0.101 - $left; # the last thousandth, so that a flood ends, too
    next unless $count > 0;
    for (grep { vec($ready, $_, 1) } keys %asked) {
        my ($socket, $bridge, $id) = @{$asked{$_}};
        my $from = recv($socket, my $reply, 2048, 0) or next;
        my ($op, $its, $options) = unpack('C x3 a4 x232 a*', $reply . "\0" x 240);
        next unless $op == 2 && $its eq $id && $reply =~ /\x35\x01[\x02\x05]/s;
        my $address = inet_ntoa((sockaddr_in($from))[1]);
        print "answer $bridge $address\n" unless $told{"$bridge $address"}++;
    }
}
"#;

/// See [`OBSERVE`].
pub(super) fn observe() -> String {
    format!("{BEGIN}{OBSERVE}")
}

/// See [`START`].
pub(super) fn start() -> String {
    format!("{BEGIN}{START}")
}

/// See [`STOP`].
pub(super) fn stop() -> String {
    format!("{BEGIN}{STOP}")
}
