//! `netlab link`: limits links of a lab that is up, or sets them down.

use clap_complete::engine::ArgValueCompleter;

use super::changing::change;
use super::error::CommandError;
use super::output::table;
use super::{Context, complete};
use crate::lab::{Delay, Loss, Rate};
use crate::ops::{self, ImageChoice, LinkChange, LinkReport, LoadOptions};

const EXAMPLES: &str = "Examples:
  netlab link lab1 node1:eth0 down      pull the cable of node1's NIC eth0
  netlab link lab1 node1:eth0 up        plug it in again
  netlab link lab1 vm1 --rate 1mbit     what is sent to vm1
  netlab link lab1 vm1:storage --delay 50ms --jitter 5ms --loss 10%
  netlab link lab1 node1:eth0,node2:eth0 --delay 20ms   both directions
  netlab link lab1 vm1 --clear          what the lab file states
  netlab link lab1                      every request";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The lab's name, or its file.
    #[arg(add = ArgValueCompleter::new(complete::labs))]
    lab: String,
    /// The link: a VM's NIC (`vm1`, `vm1:NETWORK`), or a NIC or port with a cable (`node1:eth0`); several with commas
    /// between them. Without one, every request is listed.
    #[arg(add = ArgValueCompleter::new(complete::links))]
    link: Option<String>,
    /// Set it down, or up again.
    #[arg(value_enum, requires = "link")]
    state: Option<State>,
    /// Most bits that pass in a second, e.g. 1mbit.
    #[arg(long, requires = "link")]
    rate: Option<Rate>,
    /// How much later each frame arrives, e.g. 50ms; the kernel needs netem.
    #[arg(long, requires = "link")]
    delay: Option<Delay>,
    /// By how much the delay varies, e.g. 5ms.
    #[arg(long, requires = "link")]
    jitter: Option<Delay>,
    /// Share of the frames that is dropped, e.g. 10%; the kernel needs netem.
    #[arg(long, requires = "link")]
    loss: Option<Loss>,
    /// Forget the request: what the lab file states counts again.
    #[arg(long, requires = "link", conflicts_with_all = ["state", "rate", "delay", "jitter", "loss"])]
    clear: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum State {
    Down,
    Up,
}

pub fn run(context: &mut Context, args: &Args) -> Result<(), CommandError> {
    let wanted = LinkChange {
        down: args.state.map(|state| matches!(state, State::Down)),
        rate: args.rate,
        delay: args.delay,
        jitter: args.jitter,
        loss: args.loss,
        clear: args.clear,
    };
    let lab = ops::lab_name(&args.lab)?;
    let options = LoadOptions {
        image: ImageChoice::LastUp,
        emulate: ops::is_emulated(&context.env, &lab)?,
    };
    let loaded = ops::load_named(&context.env, &args.lab, &options)?;
    let targets: Vec<String> = args.link.iter().cloned().collect();
    let report = change(context, &lab, |env| ops::link(env, &loaded, &targets, &wanted))?;
    context.answer(&text(&report), &report)
}

fn text(report: &LinkReport) -> String {
    if report.links.is_empty() {
        return format!("lab {}: no link is limited by request\n", report.lab);
    }
    let rows = report.links.iter().map(|link| {
        let by = if link.by_request {
            "by request"
        } else {
            "by the lab file"
        };
        let limits = link.shaping.to_string();
        if link.shaping.is_none() && !link.by_request {
            return vec![link.link.clone(), limits, String::new()];
        }
        let direction = if link.shaping.is_none() { "" } else { &link.direction };
        vec![link.link.clone(), format!("{limits} ({by})"), direction.to_owned()]
    });
    let head = ["LINK", "STATE", "LIMITED"].map(str::to_owned).to_vec();
    let rows = std::iter::once(head).chain(rows).collect();
    table(&super::output::without_empty_columns(rows))
}
