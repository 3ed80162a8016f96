//! What tcpdump prints of the frames on a cable, frame by frame.

/// One Ethernet frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub from: String,
    pub to: String,
    /// 802.1Q id; None: without a tag.
    pub vlan: Option<u16>,
    /// What it carries, as tcpdump prints it.
    pub what: String,
}

/// What makes tcpdump print each frame of `nic` on a line of its own, as it passes.
pub fn tcpdump(nic: &str) -> Vec<String> {
    format!("tcpdump --immediate-mode -i {nic} -Z root -e -t -nn -l")
        .split(' ')
        .map(str::to_owned)
        .collect()
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

/// Every frame; any other line but the empty one that tcpdump ends with is a mistake of the test's.
#[track_caller]
pub fn frames(text: &str) -> Vec<Frame> {
    let read = |line| Frame::read(line).unwrap_or_else(|| panic!("no frame: {line:?} in\n{text}"));
    text.lines().filter(|line| !line.is_empty()).map(read).collect()
}
