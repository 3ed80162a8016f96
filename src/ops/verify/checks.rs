//! Has hosts and routers ask services: one command each. Guests are asked in the exchange of their pings (`ask`).

use std::collections::BTreeMap;

use crate::causes::chain;
use crate::guest::{ServiceAnswer, ServiceQuestion, ask_by};
use crate::host::{Cmd, Host};
use crate::lab::Asked;
use crate::topology::Topology;

/// Has `from`, which is `host` or a router on it, ask.
pub(super) fn ask_machine(
    topology: &Topology,
    host: &dyn Host,
    from: &Asked,
    services: &[ServiceQuestion],
) -> Result<BTreeMap<ServiceQuestion, ServiceAnswer>, String> {
    ask_by(services, |script, within| {
        let cmd = Cmd::new(["sh", "-c", script]).within(within);
        let output = match from {
            Asked::Router(router) => host.ask_router(&topology.lab, router, &cmd),
            _ => host.ask(&cmd),
        };
        output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .map_err(|error| chain(&error))
    })
}
