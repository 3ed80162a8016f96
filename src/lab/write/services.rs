//! What `netlab verify` asks, and the services of guests and routers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{Out, list, quoted, table};
use crate::lab::{Asked, DnsName, Ping, Question, Serve, ServiceCheck, Verify};

impl Out {
    pub(super) fn verify(&mut self, verify: &Verify) {
        let Verify {
            outside,
            outside_names,
            pings,
            checks,
        } = verify;
        if !outside.is_empty() || !outside_names.is_empty() {
            self.table("[verify]");
            let names = outside_names.iter().map(quoted);
            self.entry("outside", list(outside.iter().map(quoted).chain(names)));
        }
        for ping in pings {
            self.table("[[verify.ping]]");
            self.ping(ping);
        }
        for check in checks {
            self.table("[[verify.check]]");
            self.check(check);
        }
    }

    fn ping(&mut self, ping: &Ping) {
        let Ping { from, to, reach } = ping;
        self.entry("from", machines(from));
        self.entry("to", quoted(to));
        if !reach {
            self.entry("reach", false);
        }
    }

    fn check(&mut self, check: &ServiceCheck) {
        let ServiceCheck {
            name,
            from,
            question,
            reach,
            hint,
        } = check;
        self.maybe("name", name.as_ref().map(quoted));
        self.entry("from", machines(from));
        match question {
            Question::Tcp { to, port } => {
                self.entry("to", quoted(to));
                self.entry("tcp", port);
            }
            Question::Http { url, status, text } => {
                self.entry("http", quoted(url));
                self.maybe("status", status.as_ref());
                self.maybe("text", text.as_ref().map(quoted));
            }
            Question::Dns { name, answer } => {
                self.entry("dns", quoted(name));
                if !answer.is_empty() {
                    self.entry("answer", list(answer.iter().map(quoted)));
                }
            }
            Question::Ping { to, max_rtt_ms, mtu } => {
                self.entry("to", quoted(to));
                self.maybe("max_rtt_ms", max_rtt_ms.as_ref());
                self.maybe("mtu", mtu.as_ref());
            }
        }
        if !reach {
            self.entry("reach", false);
        }
        self.maybe("hint", hint.as_ref().map(quoted));
    }
}

fn machines(from: &[Asked]) -> String {
    list(from.iter().map(quoted))
}

/// Returns an item of a vm's `serve`.
pub(super) fn serve(service: &Serve) -> String {
    let Serve { tcp, text } = service;
    table([format!("tcp = {tcp}"), format!("text = {}", quoted(text))])
}

/// Returns the names that a router resolves.
pub(super) fn names(names: &BTreeMap<DnsName, BTreeSet<Ipv4Addr>>) -> String {
    table(names.iter().map(|(name, addresses)| {
        let addresses = list(addresses.iter().map(quoted));
        format!("{} = {addresses}", quoted(name))
    }))
}
