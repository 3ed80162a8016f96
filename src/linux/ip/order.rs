//! The lines of a batch: their order, deletions that become one, and which of them failed.

use std::collections::BTreeSet;

use super::mark::{self, in_group};
use super::snapshot::Snapshot;
use crate::lab::{IfName, LabName};
use crate::plan::lines::{Program, program_of};

/// What the line that records a NIC's configuration has.
const RECORD: &str = ":was ";

/// A line of a batch.
pub(super) struct Line {
    /// The step it is for.
    pub at: usize,
    pub text: String,
    /// The link that it deletes.
    pub deletes: Option<IfName>,
}

/// Returns when a line's turn is among those of its batch, so that each program runs once or twice: the record of a NIC's
/// configuration before anything is changed, Open vSwitch's bridges before the kernel's settings of their devices, and
/// their removal after what is on them has moved.
pub(super) fn turn(line: &Line) -> u8 {
    let (program, arguments) = program_of(&line.text);
    match program {
        Program::Ip if arguments.contains(RECORD) => 0,
        Program::OvsVsctl if arguments.starts_with("--if-exists del-br ") => 4,
        // The device of the port is created first.
        Program::OvsVsctl if arguments.starts_with("--if-exists del-port ") && arguments.contains(" -- add-port ") => 3,
        Program::OvsVsctl => 1,
        Program::Ip => 2,
        Program::Bridge => 3,
        Program::Tc => 5,
    }
}

/// Replaces all deletions by one line where they are all that the lab has: by group the kernel waits once for its readers
/// and not once for each link, which for a thousand links takes 9 s instead of 28 s.
pub(super) fn delete_at_once(lines: &mut Vec<Line>, snapshot: &Snapshot, lab: &LabName) {
    let deleted: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line.deletes.as_ref())
        .map(IfName::as_str)
        .collect();
    let whole: BTreeSet<&str> = snapshot
        .links
        .iter()
        .filter(|link| in_group(link, lab.as_str()))
        .map(|link| link.ifname.as_str())
        .collect();
    if deleted.len() < 2 || deleted != whole {
        return;
    }
    let Some(last) = lines.iter().rposition(|line| line.deletes.is_some()) else {
        return;
    };
    lines[last].text = format!("link del group {}", mark::group(lab.as_str()));
    let mut index = 0;
    lines.retain(|line| {
        let keep = line.deletes.is_none() || index == last;
        index += 1;
        keep
    });
}

/// Parses the number of the failing line, from 1, and the message from what `ip` printed.
pub(super) fn failing_line(stderr: &str) -> (Option<usize>, String) {
    let (count, message): (Vec<&str>, Vec<&str>) = stderr
        .trim()
        .lines()
        .partition(|line| line.starts_with("Command failed "));
    let line = count
        .first()
        .and_then(|line| line.rsplit_once(':'))
        .and_then(|(_, number)| number.trim().parse().ok());
    (line, message.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_line_is_parsed_from_what_ip_prints() {
        let stderr = "RTNETLINK answers: File exists\nCommand failed -:12\n";
        assert_eq!(
            failing_line(stderr),
            (Some(12), "RTNETLINK answers: File exists".to_owned())
        );
        assert_eq!(failing_line("Error: garbage."), (None, "Error: garbage.".to_owned()));
    }
}
