# Announces addresses to the neighbors: a NIC and an IPv4 address, and so on in pairs. A neighbor that knew the address by
# another machine's hardware address learns the new one now, not when its entry expires (RFC 5227, section 3).
use strict; use Socket;
# AF_PACKET, ETH_P_ARP in network byte order (packet(7), linux/if_ether.h).
socket(my $socket, 17, SOCK_RAW, unpack('S', pack('n', 0x0806))) or die "socket: $!";
while (my ($nic, $address) = splice @ARGV, 0, 2) {
    # SIOCGIFINDEX and SIOCGIFHWADDR (netdevice(7)).
    my $index = my $hardware = pack('a16 x24', $nic);
    ioctl($socket, 0x8933, $index) && ioctl($socket, 0x8927, $hardware) or next;
    my ($own, $ip) = (unpack('x18 a6', $hardware), inet_aton($address));
    my $all = "\xff" x 6;
    my $frame = pack('a6 a6 n n n C C n a6 a4 x6 a4', $all, $own, 0x0806, 1, 0x0800, 6, 4, 1, $own, $ip, $ip);
    send($socket, $frame, 0, pack('S n i S C C a8', 17, 0x0806, unpack('x16 i', $index), 1, 0, 6, $all));
}
