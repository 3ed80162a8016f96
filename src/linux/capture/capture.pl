# Counts for SECONDS, or until SIGTERM, the echo requests and replies with a payload of one of the sizes, and all ARP
# packets, on every link (packet(7)). Prints `ready`, at the end a line for each kind: link, `in` or `out`, kind, payload
# in bytes, source, destination, hardware address of the frame's destination, count.
use strict; use Socket;
my ($seconds, @sizes) = @ARGV;
my %sizes = map { $_ => 1 } @sizes;
my $ended = 0;
$SIG{TERM} = sub { $ended = 1 };
$SIG{INT} = 'IGNORE';
# AF_PACKET, ETH_P_ALL in network byte order (linux/if_ether.h).
socket(my $socket, 17, SOCK_RAW, unpack('S', pack('n', 3))) or die "socket: $!";
setsockopt($socket, SOL_SOCKET, SO_RCVBUF, 4 << 20);
$| = 1;
print "ready\n";
my (%names, %counts);
my $until = time + $seconds;
while (!$ended && time < $until) {
    my $ready = '';
    vec($ready, fileno $socket, 1) = 1;
    next unless select($ready, undef, undef, 0.1) > 0;
    my $from = recv($socket, my $frame, 128, 0) // next;
    my (undef, undef, $index, undef, $type) = unpack('S n i S C', $from);
    my ($protocol, $at) = (unpack('x12 n', $frame), 14);
    ($protocol, $at) = (unpack('x16 n', $frame), 18) if $protocol == 0x8100 || $protocol == 0x88a8;
    my ($kind, $size, $source, $target);
    if ($protocol == 0x0806 && length $frame >= $at + 28) {
        ($kind, $source, $target) = unpack("x$at x6 n x6 a4 x6 a4", $frame);
        ($kind, $size) = ($kind == 1 ? 'arp-request' : 'arp-reply', 0);
    } elsif ($protocol == 0x0800 && length $frame >= $at + 28) {
        my ($version, $total, $fragment, $inner);
        ($version, $total, $fragment, $inner, $source, $target) = unpack("x$at C x n x2 n x C x2 a4 a4", $frame);
        my $header = ($version & 15) * 4;
        next if $inner != 1 || $fragment & 0x1fff || length $frame <= $at + $header;
        $kind = unpack('x' . ($at + $header) . ' C', $frame);
        $kind = $kind == 8 ? 'request' : $kind == 0 ? 'reply' : next;
        $size = $total - $header - 8;
        next unless $sizes{$size};
    } else { next }
    # SIOCGIFNAME (netdevice(7)).
    my $name = $names{$index} //= do {
        my $request = pack('a16 i x20', '', $index);
        ioctl($socket, 0x8910, $request) ? unpack('Z16', $request) : '?';
    };
    my $direction = $type == 4 ? 'out' : 'in'; # PACKET_OUTGOING
    my $next = join ':', unpack('(H2)6', $frame);
    $counts{join ' ', $name, $direction, $kind, $size, inet_ntoa($source), inet_ntoa($target), $next}++;
}
print "$_ $counts{$_}\n" for sort keys %counts;
print "end\n";
