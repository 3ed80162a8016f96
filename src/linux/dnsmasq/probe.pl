# Asks each `<bridge>,<gateway>` among the arguments for DHCP servers and prints `answer <bridge> <address>` for each one
# that answers. Takes two seconds for all bridges together. Perl, because a plain Debian has it and no other program
# that can do this.
#
# Asks as the gateway, which only wants options (RFC 2131, 3.4), and as a client without an address (3.1): dnsmasq checks
# for three seconds whether an address is in use before it offers it, but answers the first request at once.
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
my ($elapsed, $sent, %printed) = (0, 0);
while ($elapsed < 2) {
    if ($elapsed >= $sent) {
        for (values %asked) {
            my ($socket, undef, undef, $packets) = @$_;
            send($socket, $_, 0, sockaddr_in(67, INADDR_BROADCAST)) for @$packets;
        }
        $sent++;
    }
    my $ready = '';
    vec($ready, $_, 1) = 1 for keys %asked;
    my ($count, $left) = select($ready, undef, undef, 0.1);
    $elapsed += 0.101 - $left; # the last thousandth, so that a flood ends, too
    next unless $count > 0;
    for (grep { vec($ready, $_, 1) } keys %asked) {
        my ($socket, $bridge, $id) = @{$asked{$_}};
        my $from = recv($socket, my $reply, 2048, 0) or next;
        my ($op, $its, $options) = unpack('C x3 a4 x232 a*', $reply . "\0" x 240);
        next unless $op == 2 && $its eq $id && $reply =~ /\x35\x01[\x02\x05]/s;
        my $address = inet_ntoa((sockaddr_in($from))[1]);
        print "answer $bridge $address\n" unless $printed{"$bridge $address"}++;
    }
}
