//! What `netlab verify` asks, and the services of guests and routers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use super::Check;
use crate::lab::file::{At, CheckFile, PingFile, VmFile};
use crate::lab::read::is_numeric;
use crate::lab::{Asked, DnsName, HostName, HttpUrl, Ping, Question, Serve, ServiceCheck, Target, Vm, VmName};

/// What a check can ask.
const KINDS: &str = "write one of `tcp` (with `to`), `http`, `dns`, `max_rtt_ms` and `mtu` (both with `to`)";

impl Check<'_> {
    pub(super) fn all_pings(&mut self, pings: &[PingFile], vms: &BTreeMap<VmName, Vm>) -> Vec<Ping> {
        let mut made = Vec::new();
        for ping in pings {
            let from = ping.from.iter().filter_map(|at| self.asked(at, vms)).collect();
            made.push(Ping {
                from,
                to: ping.to,
                reach: ping.reach,
            });
        }
        made
    }

    pub(super) fn all_checks(&mut self, checks: &[CheckFile], vms: &BTreeMap<VmName, Vm>) -> Vec<ServiceCheck> {
        checks
            .iter()
            .filter_map(|check| self.service_check(check, vms))
            .collect()
    }

    fn service_check(&mut self, check: &CheckFile, vms: &BTreeMap<VmName, Vm>) -> Option<ServiceCheck> {
        let from: Vec<Asked> = check.from.iter().filter_map(|at| self.asked(at, vms)).collect();
        if check.broken {
            return None;
        }
        let question = self.question(check, vms)?;
        Some(ServiceCheck {
            name: check.name.clone(),
            from,
            question,
            reach: check.reach,
            hint: check.hint.clone(),
        })
    }

    fn question(&mut self, check: &CheckFile, vms: &BTreeMap<VmName, Vm>) -> Option<Question> {
        let path = check.max_rtt_ms.is_some() || check.mtu.is_some();
        let kinds = [
            ("tcp", check.tcp.is_some()),
            ("http", check.http.is_some()),
            ("dns", check.dns.is_some()),
            ("max_rtt_ms` or `mtu", path),
        ];
        let given: Vec<&str> = kinds
            .iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| *name)
            .collect();
        if given.len() != 1 {
            let message = if given.is_empty() {
                "this check asks nothing".to_owned()
            } else {
                format!("this check asks several things: `{}`", given.join("`, `"))
            };
            let help = if given.is_empty() {
                KINDS
            } else {
                "write a `[[verify.check]]` for each"
            };
            self.add(&check.span, message, help);
            return None;
        }
        self.belongs(
            "to",
            check.to.as_ref().map(|at| &at.span),
            check.tcp.is_some() || path,
            "`tcp`, `max_rtt_ms` or `mtu`",
        );
        self.belongs(
            "status",
            check.status.as_ref().map(|at| &at.span),
            check.http.is_some(),
            "`http`",
        );
        self.belongs(
            "text",
            check.text.as_ref().map(|at| &at.span),
            check.http.is_some(),
            "`http`",
        );
        self.belongs(
            "answer",
            check.answer.as_ref().map(|at| &at.span),
            check.dns.is_some(),
            "`dns`",
        );
        if let (Some(max), Some(_), false) = (&check.max_rtt_ms, &check.mtu, check.reach) {
            let message = "with `reach = false` a check asks either for `max_rtt_ms` or for `mtu`";
            self.add(&max.span, message, "write a `[[verify.check]]` for each");
        }
        if let Some(At { value: url, span }) = &check.http {
            let host = self.target(&url.host, span, vms)?;
            return Some(Question::Http {
                url: HttpUrl {
                    host,
                    port: url.port,
                    path: url.path.clone(),
                },
                status: check.status.as_ref().map(|at| at.value),
                text: check.text.as_ref().map(|at| at.value.clone()),
            });
        }
        if let Some(At { value: name, .. }) = &check.dns {
            return Some(Question::Dns {
                name: name.clone(),
                answer: check.answer.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
            });
        }
        let Some(At { value: to, span }) = &check.to else {
            let help = "write `to = \"vm1\"`, an address or a DNS name";
            self.add(&check.span, "this check needs `to`", help);
            return None;
        };
        let to = self.target(to, span, vms)?;
        Some(match &check.tcp {
            Some(port) => Question::Tcp { to, port: port.value },
            None => Question::Ping {
                to,
                max_rtt_ms: check.max_rtt_ms.as_ref().map(|at| at.value),
                mtu: check.mtu.as_ref().map(|at| at.value),
            },
        })
    }

    /// Reports a key that means nothing in this check.
    fn belongs(&mut self, key: &str, span: Option<&Range<usize>>, fits: bool, with: &str) {
        if let Some(span) = span.filter(|_| !fits) {
            self.add(span, format!("`{key}` belongs to a check with {with}"), "remove it");
        }
    }

    /// An address, a vm or a DNS name; a name without a dot is meant to be a vm's.
    fn target(&mut self, text: &str, span: &Range<usize>, vms: &BTreeMap<VmName, Vm>) -> Option<Target> {
        if is_numeric(text) {
            match text.parse::<IpAddr>() {
                Ok(address) => return Some(Target::Address(address)),
                Err(error) => self.add(span, format!("`{text}`: {error}"), ""),
            }
            return None;
        }
        if let Some(vm) = VmName::new(text).ok().filter(|name| vms.contains_key(name)) {
            return Some(Target::Vm(vm));
        }
        if !text.contains('.') && self.is_lost(text) {
            return None;
        }
        if !text.contains('.') {
            let help = self.suggest(text, vms.keys().map(VmName::as_str));
            let help = if help.is_empty() {
                "name a vm, an address, or a DNS name with a dot".to_owned()
            } else {
                help
            };
            self.add(span, format!("there is no vm `{text}`"), help);
            return None;
        }
        match DnsName::new(text) {
            Ok(name) => Some(Target::Name(name)),
            Err(error) => {
                self.add(span, format!("`{text}`: {error}"), "");
                None
            }
        }
    }

    /// Whether something of this name may be left out for another problem.
    fn is_lost(&self, text: &str) -> bool {
        let mut tables = ["vms", "hosts", "routers"].iter();
        let is_vm = VmName::new(text).is_ok_and(|name| self.lost.contains(&name));
        is_vm || tables.any(|table| self.broken.contains(table))
    }

    /// The vm, host or router of this name.
    fn asked(&mut self, at: &At<String>, vms: &BTreeMap<VmName, Vm>) -> Option<Asked> {
        let At { value: text, span } = at;
        let vm = VmName::new(text).ok().filter(|name| vms.contains_key(name));
        let host = HostName::new(text).ok();
        let router = host.clone().filter(|name| self.routers.contains_key(name));
        let host = host.filter(|name| self.hosts.contains_key(name));
        let found = [vm.map(Asked::Vm), host.map(Asked::Host), router.map(Asked::Router)];
        match found.into_iter().flatten().next() {
            Some(found) => Some(found),
            None if self.is_lost(text) => None,
            None => {
                let names = vms.keys().map(VmName::as_str);
                let machines = self.hosts.keys().chain(self.routers.keys()).map(HostName::as_str);
                let help = self.suggest(text, names.chain(machines));
                self.add(span, format!("there is no vm, host or router `{text}`"), help);
                None
            }
        }
    }

    /// A vm's services, each on a port of its own.
    pub(super) fn services(&mut self, vm: &VmFile) -> Vec<Serve> {
        let mut ports = BTreeSet::new();
        for At { value, span } in &vm.serve {
            if !ports.insert(value.tcp) {
                let message = format!("vm `{}` serves two texts on port {}", vm.name.value, value.tcp);
                self.add(span, message, "a port has one service");
            }
        }
        let mut services: Vec<Serve> = vm.serve.iter().map(|at| at.value.clone()).collect();
        services.sort();
        services
    }
}

/// The names of a router.
pub(super) fn names(names: &[(DnsName, Vec<Ipv4Addr>)]) -> BTreeMap<DnsName, BTreeSet<Ipv4Addr>> {
    let names = names
        .iter()
        .map(|(name, addresses)| (name.clone(), addresses.iter().copied().collect()));
    names.collect()
}
