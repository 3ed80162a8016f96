# Prints the frames of LINK as a pcap file until COUNT of them (0: without end), or SIGTERM (packet(7)).
use strict; use Socket; use Time::HiRes 'time';
my ($link, $count) = @ARGV;
# AF_PACKET, ETH_P_ALL in network byte order (linux/if_ether.h), SIOCGIFINDEX (netdevice(7)).
socket(my $socket, 17, SOCK_RAW, unpack('S', pack('n', 3))) or die "socket: $!\n";
my $request = pack('a16 i x20', $link, 0);
ioctl($socket, 0x8933, $request) or die "$link: $!\n";
my $index = unpack('x16 i', $request);
bind($socket, pack('S n i S C C a8', 17, 3, $index, 0, 0, 0, '')) or die "bind: $!\n";
# SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC: ends with the socket.
setsockopt($socket, 263, 1, pack('i S S a8', $index, 1, 0, ''));
setsockopt($socket, SOL_SOCKET, SO_RCVBUF, 4 << 20);
binmode STDOUT;
$| = 1;
# The header of pcap-savefile(5): microseconds, Ethernet.
print pack('L S S l L L L', 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1);
print STDERR "listening on $link\n";
my $seen = 0;
while (!$count || $seen < $count) {
    defined recv($socket, my $frame, 262144, 0) or next;
    my $now = time;
    my $size = length $frame;
    print pack('L L L L', int $now, int(($now - int $now) * 1e6), $size, $size), $frame or last;
    $seen++;
}
