//! What tcpdump saw on a cable, frame by frame.

/// Lines of a shell that begin to capture every frame on `nic` of an emulated host, in the background, and wait until
/// tcpdump listens. The frames go to /tmp/cable.
pub fn begin(lab: &str, host: &str, nic: &str) -> String {
    format!(
        "ip netns exec netlab.{lab}.{host} tcpdump --immediate-mode -i {nic} -Z root -e -t -nn -l >/tmp/cable 2>/tmp/cable.log &\n\
         tcpdump=$!\nuntil grep -q 'listening on' /tmp/cable.log; do kill -0 $tcpdump; sleep 0.1; done"
    )
}

/// What [`END`] prints before the frames.
pub const BEGIN: &str = "frames on the cable:\n";

/// Lines of a shell that end what [`begin`] began and print it. What came last is on its way from the kernel for a
/// moment, and would be lost.
pub const END: &str =
    "sleep 1; kill -INT $tcpdump; wait $tcpdump || true; echo 'frames on the cable:'; cat /tmp/cable; rm /tmp/cable*";

/// One Ethernet frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub from: String,
    pub to: String,
    /// 802.1Q id; None: without a tag.
    pub vlan: Option<u16>,
    /// What it carries, as tcpdump says it.
    pub what: String,
}

impl Frame {
    /// Reads, for example (tcpdump(8), "Link Level Headers"),
    /// `52:54:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype 802.1Q (0x8100), length 46: vlan 10, p 0, ethertype ARP …`.
    fn read(line: &str) -> Option<Self> {
        let (from, rest) = line.split_once(" > ")?;
        let (to, rest) = rest.split_once(", ")?;
        let (kind, rest) = rest.split_once(", length ")?;
        let (_, what) = rest.split_once(": ")?;
        let vlan = match what.strip_prefix("vlan ") {
            Some(tag) => Some(tag.split_once(',')?.0.parse().ok()?),
            None => None,
        };
        // A tag that is announced must have been read.
        (kind.contains("802.1Q") == vlan.is_some()).then(|| Self {
            from: from.to_owned(),
            to: to.to_owned(),
            vlan,
            what: what.to_owned(),
        })
    }

    pub fn carries(&self, what: &str) -> bool {
        self.what.contains(what)
    }
}

/// Every frame; a line that is none is a mistake of the test's, but for the empty one that tcpdump ends with.
#[track_caller]
pub fn frames(text: &str) -> Vec<Frame> {
    let read = |line| Frame::read(line).unwrap_or_else(|| panic!("no frame: {line:?} in\n{text}"));
    text.lines().filter(|line| !line.is_empty()).map(read).collect()
}

#[test]
fn frames_with_and_without_a_tag_are_read() {
    let text = "\
52:54:00:b1:3c:74 > 52:54:00:00:00:02, ethertype 802.1Q (0x8100), length 102: vlan 10, p 0, ethertype IPv4 (0x0800), \
10.0.1.2 > 10.0.1.3: ICMP echo request, id 1, seq 0, length 64
02:12:f8:dd:fd:ba > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Request who-has 172.16.99.109 tell 172.16.99.108, \
length 28
";
    let [tagged, plain] = &frames(text)[..] else { panic!() };
    assert_eq!((tagged.from.as_str(), tagged.vlan), ("52:54:00:b1:3c:74", Some(10)));
    assert!(tagged.carries("10.0.1.2 > 10.0.1.3: ICMP echo request"));
    assert_eq!((plain.to.as_str(), plain.vlan), ("ff:ff:ff:ff:ff:ff", None));
}
