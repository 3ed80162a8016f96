//! A command that captures the frames of one link and prints them as a pcap file while they come: by tcpdump(8), or where
//! that is not installed by packet(7) through perl(1). It ends when its standard input does, so nothing of it is left.

const SCRIPT: &str = include_str!("stream.sh");
const PROGRAM: &str = include_str!("stream.pl");

/// Returns the command for a shell on the machine that has the link. `count`: how many frames; none: without end. `filter`:
/// as pcap-filter(7), also of what frames with a VLAN tag carry; only tcpdump has filters.
pub fn command(link: &str, count: Option<u64>, filter: &str) -> Vec<String> {
    let count = count.unwrap_or_default().to_string();
    let filter = also_tagged(filter);
    let words = ["sh", "-c", SCRIPT, "capture", link, &count, &filter, PROGRAM];
    words.map(ToOwned::to_owned).into()
}

/// Returns a filter that takes the same frames with a tag, too: without the word `vlan`, pcap-filter(7) expects everything
/// where it is in a frame without one. A filter that has the word is left as it is.
fn also_tagged(filter: &str) -> String {
    let mut words = filter.split(|char: char| !char.is_ascii_alphanumeric());
    if filter.trim().is_empty() || words.any(|word| word == "vlan") {
        return filter.to_owned();
    }
    format!("({filter}) or (vlan and ({filter}))")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_frames_with_a_tag_too_unless_it_says_which() {
        assert_eq!(also_tagged("icmp or arp"), "(icmp or arp) or (vlan and (icmp or arp))");
        for as_it_is in ["", " ", "vlan 10 and icmp", "icmp or (vlan and icmp)"] {
            assert_eq!(also_tagged(as_it_is), as_it_is);
        }
    }
}
