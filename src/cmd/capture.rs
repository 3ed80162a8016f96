//! `netlab capture`: shows or saves what passes links of a lab.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap_complete::engine::ArgValueCompleter;

use super::error::CommandError;
use super::output::print_error;
use super::{Context, complete, print, signals, terminal, trace};
use crate::linux::capture::pcap::Packet;
use crate::linux::capture::{pcapng, text};
use crate::ops::{self, CaptureOptions, CaptureReport, ImageChoice, LoadOptions, Points};

const EXAMPLES: &str = "Examples:
  netlab capture lab1 vm1                      what passes vm1's NIC
  netlab capture lab1 vm1:storage -c 10 icmp   of one of its NICs
  netlab capture lab1 node1:eth0 -w eth0.pcapng
  netlab capture lab1 node1:br1 'arp or port 67'
  netlab capture lab1 vm1 -w - | wireshark -k -i -
  netlab capture lab1 --both-ends vm1 vm3 -w path.pcapng icmp
                                               every link between them";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The lab's name, or its file.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// Where, and which packets: a VM's NIC (`vm1`, `vm1:NETWORK`) or a link of a host, switch or router (`node1:eth0`),
    /// several with commas between them; then a filter as tcpdump takes it. With `--both-ends`: the filter only.
    #[arg(value_name = "LINK [FILTER]", allow_hyphen_values = false, add = ArgValueCompleter::new(complete::links))]
    words: Vec<String>,
    /// Capture at every link on the path between two VMs, hosts or routers.
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], add = ArgValueCompleter::new(complete::ends))]
    both_ends: Option<Vec<String>>,
    /// Write a pcapng file; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after this many packets.
    #[arg(short, long)]
    count: Option<u64>,
}

/// Where packets go.
enum Sink {
    File(pcapng::Writer<Box<dyn Write>>),
    Text,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let lab = ops::lab_name(&args.lab)?;
    trace::record_in(&context.env.folders, &lab);
    let (targets, filter) = match (&args.both_ends, args.words.split_first()) {
        (Some(_), _) => (&[][..], &args.words[..]),
        (None, Some((_, filter))) => (&args.words[..1], filter),
        (None, None) => {
            return Err(CommandError::NotAsDescribed {
                message: "nothing to capture at".to_owned(),
                help: Some(format!("name a VM or a link, e.g. `netlab capture {lab} vm1`")),
            });
        }
    };
    let loaded = if args.both_ends.is_some() {
        let emulate = ops::is_emulated(&context.env, &lab)?;
        let image = ImageChoice::LastUp;
        Some(ops::load_named(
            &context.env,
            &args.lab,
            &LoadOptions { image, emulate },
        )?)
    } else {
        None
    };
    let ends = loaded
        .as_ref()
        .zip(args.both_ends.as_deref())
        .and_then(|(loaded, ends)| {
            let [from, to] = ends else { return None };
            Some((loaded, from.as_str(), to.as_str()))
        });
    signals::listen(context.env.cancel.clone(), None)?;
    let points = ops::points(&context.env, &args.lab, targets, ends)?;
    let mut sink = sink(&points, args.write.as_deref())?;
    let names: Vec<String> = points.points.iter().map(|point| point.name.clone()).collect();
    let said = format!("capturing at {}: Ctrl-C ends", names.join(", "));
    let options = CaptureOptions {
        count: args.count,
        filter: filter.join(" "),
    };
    let several = names.len() > 1;
    let ready = || {
        if !context.quiet {
            print_error(&said);
        }
    };
    let report = ops::capture(&context.env, points, &options, ready, |at, packet| match &mut sink {
        Sink::File(writer) => writer.add(u32::try_from(at).unwrap_or_default(), packet),
        Sink::Text if context.json => Ok(()),
        Sink::Text => {
            let name = several.then(|| names[at].as_str());
            let line = line(name, packet);
            match print(terminal::shown(&line).as_bytes()) {
                Ok(()) if terminal::is_read() => Ok(()),
                _ => Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    });
    let report = match report {
        // Who reads has had enough.
        Err(ops::OpsError::Capture(ops::CaptureError::Write(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(());
        }
        other => other?,
    };
    if args.write.as_deref() == Some(Path::new("-")) {
        return Ok(());
    }
    let summary = summary(&report);
    if context.json {
        return context.answer(&summary, &report);
    }
    if !context.quiet {
        print_error(summary.trim_end());
    }
    Ok(())
}

fn sink(points: &Points, file: Option<&Path>) -> Result<Sink, CommandError> {
    let Some(path) = file else { return Ok(Sink::Text) };
    let output: Box<dyn Write> = if path == Path::new("-") {
        Box::new(io::stdout())
    } else {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path);
        Box::new(BufWriter::new(file.map_err(|source| CommandError::Process {
            doing: "create the file of packets",
            source,
        })?))
    };
    let interfaces: Vec<(String, String)> = points
        .points
        .iter()
        .map(|point| (point.name.clone(), format!("{} of {}", point.link, point.machine)))
        .collect();
    let writer = pcapng::Writer::begin(output, &interfaces).map_err(|source| CommandError::Process {
        doing: "write the file of packets",
        source,
    })?;
    Ok(Sink::File(writer))
}

/// A packet as a line: its time of day in UTC, where there are several points its point, and what it is.
fn line(name: Option<&str>, packet: &Packet) -> String {
    let seconds = packet.time / 1_000_000_000 % 86_400;
    let micros = packet.time % 1_000_000_000 / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let name = name.map(|name| format!("{name} ")).unwrap_or_default();
    let text = text::line(&packet.bytes);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06} {name}{text}\n")
}

fn count(packets: u64) -> String {
    format!("{packets} packet{}", if packets == 1 { "" } else { "s" })
}

fn summary(report: &CaptureReport) -> String {
    let counts = report.points.iter().zip(&report.packets);
    let counts: Vec<String> = counts
        .map(|(point, packets)| format!("{} at {}", count(*packets), point.name))
        .collect();
    counts.join(", ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_a_line_with_its_time_and_point() {
        let packet = Packet {
            time: (3600 * 13 + 60 * 5 + 9) * 1_000_000_000 + 1000,
            length: 3,
            bytes: vec![1, 2, 3],
        };
        assert_eq!(
            line(Some("vm1:service"), &packet),
            "13:05:09.000001 vm1:service 3 bytes, too short for Ethernet\n"
        );
    }
}
