//! What a guest itself shows of its links and of the packets that passed: read in the same exchange as its pings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::embedded::code;
use crate::lab::MacAddr;

/// The functions of the script.
const SEEN: &str = include_str!("seen.sh");
/// The function that counts fragments.
pub(super) const FRAGMENTS: &str = include_str!("fragments.sh");
/// The function that sends from another address.
const FORGE: &str = include_str!("forge.sh");
/// A flag of /proc/net/arp: the entry has a hardware address (ATF_COM; linux/if_arp.h).
const COMPLETE: u32 = 0x2;
/// Another one: the entry was set by hand (ATF_PERM).
const PERMANENT: u32 = 0x4;
/// A link's flag: administratively up (IFF_UP; linux/if.h).
const UP: u32 = 0x1;
/// A link's flag: it does not use ARP (IFF_NOARP; linux/if.h).
const NOARP: u32 = 0x80;

/// An address that a guest asks for by ARP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArpQuestion {
    /// The MAC address of the guest's NIC that asks.
    pub nic: MacAddr,
    /// The address.
    pub address: Ipv4Addr,
    /// The address is of another layer 2 segment, where nobody must answer: the question has no source address, so that
    /// every owner can answer it.
    pub foreign: bool,
    /// It is asked, by ARP and by a ping, from this address, which is nobody's: a port with port security lets neither
    /// pass.
    pub forged: Option<Ipv4Addr>,
}

/// What became of packets from an address that is not the guest's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forged {
    /// How many the guest could send.
    pub sent: u32,
    /// How many of them were answered.
    pub answered: u32,
}

/// What a guest shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestView {
    /// The hardware address of each neighbor that it has one of.
    pub arp: BTreeMap<Ipv4Addr, MacAddr>,
    /// Those of which the hardware address was set by hand.
    pub arp_by_hand: BTreeSet<Ipv4Addr>,
    /// Who answered its ARP questions.
    pub replies: BTreeMap<Ipv4Addr, BTreeSet<MacAddr>>,
    /// It sent packets in fragments while it pinged: those larger than a path MTU that it has learned (RFC 1191).
    pub makes_fragments: bool,
    /// The addresses that full packets reach in fragments only.
    pub fragmented: BTreeSet<IpAddr>,
    /// Its addresses, without those of its loopback network.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Its routes.
    pub routes: Vec<GuestRoute>,
    /// Its links by name.
    pub links: BTreeMap<String, GuestLink>,
    /// The name servers of /etc/resolv.conf; none where it cannot be read.
    pub nameservers: Option<BTreeSet<IpAddr>>,
    /// The TCP ports that something listens on; none where they cannot be read.
    pub listening: Option<BTreeSet<u16>>,
    /// Its host name.
    pub hostname: Option<String>,
    /// Settings of its kernel that decide about packets, by their name under /proc/sys/net/ipv4.
    pub settings: BTreeMap<String, u64>,
    /// Its rules, and policies of chains, that drop packets.
    pub drops: Vec<String>,
    /// What it asked for by ARP; nothing where it has no program that does.
    pub asked: BTreeSet<Ipv4Addr>,
    /// By forged source address, what became of its packets.
    pub forged: BTreeMap<Ipv4Addr, Forged>,
}

/// A guest's route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestRoute {
    /// The link; `*` for one that refuses.
    pub link: String,
    /// Destination.
    pub to: Ipv4Net,
    /// Next hop; absent: on the link.
    pub via: Option<Ipv4Addr>,
    /// Packets are refused.
    pub rejects: bool,
    /// Of two routes to one destination the one with the lower metric counts.
    pub metric: u32,
}

/// A guest's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestLink {
    /// Its hardware address.
    pub mac: MacAddr,
    /// Administratively up.
    pub up: bool,
    /// It has a peer.
    pub carrier: bool,
    /// It does not use ARP.
    pub noarp: bool,
    /// Its MTU, in bytes.
    pub mtu: u32,
}

/// Returns the functions, and the commands with which they begin.
fn functions() -> String {
    code(FRAGMENTS) + &code(SEEN)
}

/// Returns the functions and the commands that ask: they run beside the pings. Those for addresses of the guest's own
/// segments end with the first answer (who else has the address answers at about the same time, and arping(8) of busybox
/// would wait a second for more); where nobody must answer they take $v seconds.
pub(super) fn questions(questions: &[ArpQuestion]) -> String {
    let mut script = functions();
    if questions.iter().any(|question| question.forged.is_some()) {
        script.push_str(&code(FORGE));
    }
    for ArpQuestion {
        nic,
        address,
        foreign,
        forged,
    } in questions
    {
        // Writing to a `String` cannot fail.
        let _ = match (forged, foreign) {
            (Some(source), _) => writeln!(script, "{{ set +f; i {nic} {address} {source}; }} &"),
            (None, true) => writeln!(
                script,
                "arping -D -c$v -w$v -I $(n {nic}) {address} 2>&1 | r {address} all 3<&0 &"
            ),
            // This shell waits for what reads, not for arping.
            (None, false) => writeln!(
                script,
                "{{ arping -c$v -w$v -I $(n {nic}) {address} 2>&1 & }} | r {address} 3<&0 &"
            ),
        };
    }
    script
}

/// The command that prints everything, after the pings.
pub(super) const PRINT: &str = "set +f; e\n";

/// Returns the script that prints everything and asks nothing; on a screen only the guest's addresses, routes, links, host
/// name and name servers, because every byte is typed.
pub(super) fn script(mark: &str, screen: bool) -> String {
    let print = if screen {
        "{ l; z; echo \"$w @end @ $w\"; } 2>/dev/null"
    } else {
        "e"
    };
    let functions = functions();
    let mut functions = functions.as_str();
    if screen {
        let place = |function: &str| functions.find(function).map(|at| at + 1);
        let (begin, end) = (place("\nl() "), place("\ne() "));
        functions = functions
            .get(begin.unwrap_or(0)..end.unwrap_or(functions.len()))
            .unwrap_or(functions);
    }
    format!("( w={mark}\n{functions}{print} )\n")
}

/// Reads what a guest printed between two marks; `None` where it did not print all of it.
pub(super) fn read(text: &str, mark: &str) -> Option<GuestView> {
    let mut view = GuestView::default();
    let mut complete = false;
    for line in text.lines() {
        let words = line
            .split_once(mark)
            .and_then(|(_, line)| line.strip_suffix(mark)?.trim().strip_prefix('@')?.strip_suffix(" @"));
        let Some(words) = words else { continue };
        match words.split(' ').collect::<Vec<_>>()[..] {
            ["end"] => complete = true,
            // A line that is not as expected, e.g. a header, is left out.
            ref words => _ = read_line(&mut view, words),
        }
    }
    complete.then_some(view)
}

fn read_line(view: &mut GuestView, words: &[&str]) -> Option<()> {
    match *words {
        ["asked", address] => _ = view.asked.insert(address.parse().ok()?),
        ["reply", address, mac] => {
            // busybox prints octets without leading zeros as two digits; iputils in capitals.
            let replies = view.replies.entry(address.parse().ok()?).or_default();
            replies.insert(mac.to_lowercase().parse().ok()?);
        }
        ["fragments"] => view.makes_fragments = true,
        ["forged", source, answered] => {
            let forged = view.forged.entry(source.parse().ok()?).or_default();
            let answered: u32 = answered.parse().ok()?;
            forged.sent += 1;
            forged.answered += answered.min(1);
        }
        ["arp", address, flags, mac, _] if hex(flags)? & COMPLETE != 0 => {
            let address = address.parse().ok()?;
            view.arp.insert(address, mac.parse().ok()?);
            if hex(flags)? & PERMANENT != 0 {
                view.arp_by_hand.insert(address);
            }
        }
        ["local", address] => {
            let address: Ipv4Addr = address.parse().ok()?;
            if !address.is_loopback() {
                view.addresses.insert(address);
            }
        }
        ["route", link, to, via, _, mask, metric] => {
            let (to, mask) = (address(to)?, address(mask)?);
            let via = address(via)?;
            view.routes.push(GuestRoute {
                link: link.to_owned(),
                to: Ipv4Net::with_netmask(to, mask).ok()?,
                via: (!via.is_unspecified()).then_some(via),
                rejects: link == "*",
                metric: metric.parse().ok()?,
            });
        }
        ["name", name] => view.hostname = Some(name.to_owned()),
        ["sockets"] => _ = view.listening.get_or_insert_default(),
        ["listen", port] => {
            let port = u16::from_str_radix(port, 16).ok()?;
            view.listening.get_or_insert_default().insert(port);
        }
        ["resolv"] => _ = view.nameservers.get_or_insert_default(),
        ["dns", "nameserver", server] => {
            view.nameservers.get_or_insert_default().insert(server.parse().ok()?);
        }
        ["sys", setting, value] => {
            view.settings.insert(setting.to_owned(), value.parse().ok()?);
        }
        ["drop", ..] => view.drops.push(words[1..].join(" ")),
        ["link", name, mac, flags, mtu, carrier] => {
            let link = GuestLink {
                noarp: hex(flags)? & NOARP != 0,
                mac: mac.parse().ok()?,
                up: hex(flags)? & UP != 0,
                carrier: carrier == "1",
                mtu: mtu.parse().ok()?,
            };
            view.links.insert(name.to_owned(), link);
        }
        _ => {}
    }
    Some(())
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// An address of /proc/net/route: the number as a little-endian kernel prints it.
fn address(text: &str) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(hex(text)?.swap_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::LINE_LIMIT;
    use super::*;

    const PRINTED: &str = "w1 @arp IP address HW type @ w1\n\
        mini# w1 @arp 10.0.1.1 0x2 52:54:00:00:00:11 eth0 @ w1\r\n\
        w1 @arp 10.0.1.9 0x0 00:00:00:00:00:00 eth0 @ w1\n\
        w1 @route Iface Destination Gateway Flags Mask Metric @ w1\n\
        w1 @route eth0 00000000 0101000A 0003 00000000 0 @ w1\n\
        w1 @route eth0 0001000A 00000000 0001 FCFFFFFF 0 @ w1\n\
        w1 @route * 0900000A 00000000 0205 FFFFFFFF 0 @ w1\n\
        w1 @dns # comment @ w1\nw1 @dns nameserver 10.0.1.53 @ w1\nw1 @resolv @ w1\nw1 @name vm1 @ w1\n\
        w1 @listen 0050 @ w1\nw1 @sockets @ w1\n\
        w1 @sys conf/eth0/rp_filter 1 @ w1\nw1 @drop ip saddr 10.0.1.3 drop @ w1\n\
        w1 @local 127.0.0.1 @ w1\nw1 @local 10.0.1.2 @ w1\n\
        w1 @link eth0 52:54:00:00:00:02 0x1003 1300 1 @ w1\n\
        w1 @link lo 00:00:00:00:00:00 0x9 65536 1 @ w1\n\
        w1 @fragments @ w1\n\
        w1 @forged 10.0.1.250 0 @ w1\nw1 @forged 10.0.1.250 1 @ w1\nw1 @forged 10.0.1.250 no @ w1\n\
        w1 @reply 10.0.1.3 52:54:00:00:00:03 @ w1\n\
        w1 @reply 10.0.1.4 52:54:0 [  2.1] eth0: up\n0:00:00:03 @ w1\n";

    #[test]
    fn the_scripts_of_one_exchange_have_functions_of_different_names() {
        let scripts = [
            FRAGMENTS,
            SEEN,
            FORGE,
            include_str!("probe.sh"),
            include_str!("services.sh"),
        ];
        let lines = scripts.iter().flat_map(|script| script.lines());
        let names: Vec<_> = lines.filter_map(|line| Some(line.split_once("() {")?.0)).collect();
        let different: BTreeSet<_> = names.iter().collect();
        assert!(names.len() > 8, "{names:?}");
        assert_eq!(different.len(), names.len(), "{names:?}");
    }

    #[test]
    fn addresses_routes_links_neighbors_and_replies_are_read_and_garbled_lines_are_not() {
        let view = read(&format!("{PRINTED}w1 @end @ w1\n"), "w1").unwrap();
        let mac = |last: u8| MacAddr::new([0x52, 0x54, 0, 0, 0, last]).unwrap();
        assert_eq!(view.arp, [(Ipv4Addr::new(10, 0, 1, 1), mac(0x11))].into());
        assert_eq!(view.addresses, [Ipv4Addr::new(10, 0, 1, 2)].into());
        assert!(view.makes_fragments);
        assert_eq!(view.replies, [(Ipv4Addr::new(10, 0, 1, 3), [mac(3)].into())].into());
        let routes: Vec<_> = view
            .routes
            .iter()
            .map(|route| (route.to.to_string(), route.via, route.rejects))
            .collect();
        let gateway = Some(Ipv4Addr::new(10, 0, 1, 1));
        let wanted = [
            ("0.0.0.0/0", gateway, false),
            ("10.0.1.0/30", None, false),
            ("10.0.0.9/32", None, true),
        ];
        assert_eq!(routes, wanted.map(|(to, via, rejects)| (to.to_owned(), via, rejects)));
        let forged = Forged { sent: 2, answered: 1 };
        assert_eq!(view.forged, [(Ipv4Addr::new(10, 0, 1, 250), forged)].into());
        assert_eq!(view.links.len(), 1, "a loopback device has no address");
        assert_eq!(view.nameservers, Some([IpAddr::from([10, 0, 1, 53])].into()));
        assert_eq!(view.hostname.as_deref(), Some("vm1"));
        assert_eq!(view.listening, Some([80].into()));
        assert_eq!(view.settings["conf/eth0/rp_filter"], 1);
        assert_eq!(view.drops, ["ip saddr 10.0.1.3 drop"]);
        assert_eq!((view.links["eth0"].mtu, view.links["eth0"].up), (1300, true));
    }

    #[test]
    fn an_answer_that_was_cut_is_no_view() {
        assert_eq!(read(PRINTED, "w1"), None);
    }

    #[test]
    fn every_line_of_the_script_fits_into_a_terminal() {
        let question = ArpQuestion {
            nic: MacAddr::new([0x52, 0x54, 0, 0xff, 0xff, 0xff]).unwrap(),
            address: Ipv4Addr::BROADCAST,
            foreign: true,
            forged: None,
        };
        let forged = ArpQuestion {
            forged: Some(Ipv4Addr::BROADCAST),
            ..question.clone()
        };
        let own = ArpQuestion {
            foreign: false,
            ..question.clone()
        };
        let asked = questions(&[question, forged, own]);
        assert!(asked.lines().all(|line| line.len() <= LINE_LIMIT), "{asked}");
        let screen = script("n0123456789abcdef", true);
        assert!(screen.lines().all(|line| line.len() <= LINE_LIMIT), "{screen}");
        assert!(screen.contains("/proc/net/fib_trie") && screen.len() < 800, "{screen}");
        assert!(
            screen.contains("/proc/net/route") && !screen.contains("/proc/net/arp"),
            "{screen}"
        );
    }
}
