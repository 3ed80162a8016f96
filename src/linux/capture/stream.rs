//! A command that captures the frames of one link and prints them as a pcap file while they come: by tcpdump(8), or where
//! that is not installed by packet(7) through perl(1). It ends when its standard input does, so nothing of it is left.

const SCRIPT: &str = include_str!("stream.sh");
const PROGRAM: &str = include_str!("stream.pl");

/// Returns the command for a shell on the machine that has the link. `count`: how many frames; none: without end. `filter`:
/// as pcap-filter(7); only tcpdump has filters.
pub fn command(link: &str, count: Option<u64>, filter: &str) -> Vec<String> {
    let count = count.unwrap_or_default().to_string();
    let words = ["sh", "-c", SCRIPT, "capture", link, &count, filter, PROGRAM];
    words.map(ToOwned::to_owned).into()
}
