//! What `netlab verify` asks, and the services of guests and routers.

use std::net::{IpAddr, Ipv4Addr};

use toml::de::DeTable;

use super::{Reader, Value, get};
use crate::lab::file::{At, CheckFile, PingFile, UrlFile};
use crate::lab::schema::choices::{LEAST_MTU, MOST_MTU, MOST_RTT};
use crate::lab::{DnsName, HttpUrl, Serve};

/// Most characters of a text that a service answers, or that a page must contain: a line of a console holds 900.
const MOST_TEXT: usize = 200;
/// Most characters of a check's name and of its hint.
const MOST_NAME: usize = 100;
const MOST_HINT: usize = 1000;
/// Most characters of a page's path.
const MOST_PATH: usize = 300;

/// What `[verify]` holds.
#[derive(Default)]
pub(super) struct VerifyFile {
    pub outside: Vec<IpAddr>,
    pub outside_names: Vec<DnsName>,
    pub pings: Vec<PingFile>,
    pub checks: Vec<CheckFile>,
}

impl Reader {
    pub(super) fn verify(&mut self, value: &Value<'_>) -> VerifyFile {
        let Some(table) = self.table(value) else {
            return VerifyFile::default();
        };
        let mut read = VerifyFile::default();
        for value in self.list(get(table, "outside")) {
            let Some(text) = self.string(value) else { continue };
            if is_numeric(text) {
                read.outside.extend(self.ip(Some(value)).map(|at| at.value));
            } else {
                let name = self.name::<DnsName>(text, value.span());
                read.outside_names.extend(name.map(|at| at.value));
            }
        }
        let pings = self.list(get(table, "ping"));
        read.pings = pings.into_iter().filter_map(|v| self.ping(v)).collect();
        let checks = self.list(get(table, "check"));
        read.checks = checks.into_iter().filter_map(|v| self.check(v)).collect();
        read
    }

    fn ping(&mut self, value: &Value<'_>) -> Option<PingFile> {
        let table = self.table(value)?;
        for (key, example) in [("from", "from = [\"vm1\", \"node2\"]"), ("to", "to = \"192.0.2.1\"")] {
            if get(table, key).is_none() {
                self.add(
                    value.span(),
                    format!("a ping needs `{key}`"),
                    format!("write `{example}`"),
                );
            }
        }
        Some(PingFile {
            from: self.machines(get(table, "from")),
            to: self.ip(get(table, "to"))?.value,
            reach: get(table, "reach").is_none_or(|value| self.boolean(Some(value))),
        })
    }

    /// Names of machines, which are checked later.
    fn machines(&mut self, value: Option<&Value<'_>>) -> Vec<At<String>> {
        let mut names = Vec::new();
        for value in self.one_or_more(value) {
            names.extend(self.string(value).map(|text| At {
                value: text.to_owned(),
                span: value.span(),
            }));
        }
        names
    }

    fn check(&mut self, value: &Value<'_>) -> Option<CheckFile> {
        let table = self.table(value)?;
        if get(table, "from").is_none() {
            self.add(
                value.span(),
                "a check needs `from`",
                "write `from = [\"vm1\", \"node2\"]`",
            );
        }
        let before = self.problems.len();
        let answer = get(table, "answer").map(|answer| {
            let list = self.one_or_more(Some(answer));
            let list = list.into_iter().filter_map(|v| self.address(Some(v)));
            At {
                value: list.map(|at| at.value).collect(),
                span: answer.span(),
            }
        });
        let mut check = CheckFile {
            span: value.span(),
            name: self.free(get(table, "name"), MOST_NAME),
            from: self.machines(get(table, "from")),
            to: get(table, "to").and_then(|value| {
                let text = self.string(value)?.to_owned();
                Some(At {
                    value: text,
                    span: value.span(),
                })
            }),
            tcp: self.port_number(get(table, "tcp")),
            http: get(table, "http").and_then(|value| self.url(value)),
            status: self.between(get(table, "status"), "status", 100, 599).and_then(narrow),
            text: get(table, "text").and_then(|value| self.line(value)),
            dns: self.parsed(get(table, "dns")),
            answer,
            max_rtt_ms: self.between(get(table, "max_rtt_ms"), "max_rtt_ms", 1, MOST_RTT),
            mtu: self
                .between(get(table, "mtu"), "mtu", LEAST_MTU, MOST_MTU)
                .and_then(narrow),
            reach: get(table, "reach").is_none_or(|value| self.boolean(Some(value))),
            hint: self.free(get(table, "hint"), MOST_HINT),
            broken: false,
        };
        check.broken = self.problems.len() > before || self.has_mistyped(table);
        Some(check)
    }

    /// A text for people.
    fn free(&mut self, value: Option<&Value<'_>>, most: usize) -> Option<String> {
        let value = value?;
        let text = self.string(value)?.trim();
        if text.is_empty() || text.chars().count() > most || text.chars().any(|c| c.is_control() && c != '\n') {
            let message = format!("this is a text of 1 to {most} characters without control characters");
            self.add(value.span(), message, "");
            return None;
        }
        Some(text.to_owned())
    }

    /// A text that is typed into a guest.
    fn line(&mut self, value: &Value<'_>) -> Option<At<String>> {
        let text = self.string(value)?;
        if text.is_empty() || text.len() > MOST_TEXT || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            let message = format!("this is one line of 1 to {MOST_TEXT} printable ASCII characters");
            self.add(value.span(), message, "");
            return None;
        }
        Some(At {
            value: text.to_owned(),
            span: value.span(),
        })
    }

    /// A TCP port.
    fn port_number(&mut self, value: Option<&Value<'_>>) -> Option<At<u16>> {
        self.between(value, "a port", 1, u16::MAX.into()).and_then(narrow)
    }

    fn between(&mut self, value: Option<&Value<'_>>, what: &str, least: u32, most: u32) -> Option<At<u32>> {
        let At { value, span } = self.integer(value)?;
        let fits = u32::try_from(value).ok().filter(|n| (least..=most).contains(n));
        if fits.is_none() {
            let help = format!("{what} is a number from {least} to {most}");
            self.add(span.clone(), format!("{what} is out of range"), help);
        }
        fits.map(|value| At { value, span })
    }

    fn url(&mut self, value: &Value<'_>) -> Option<At<UrlFile>> {
        const EXAMPLE: &str = "write e.g. `http = \"http://web:8080/index.html\"`";
        let text = self.string(value)?;
        let Some(rest) = text.strip_prefix("http://") else {
            let message = if text.starts_with("https://") {
                "only pages without encryption can be checked"
            } else {
                "this is no `http://` URL"
            };
            self.add(value.span(), message, EXAMPLE);
            return None;
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (server, path) = rest.split_at(at);
        let (host, port) = match server.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, rest))) => (host, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(""))),
            Some(None) => (server, None),
            None => server
                .split_once(':')
                .map_or((server, Some("")), |(host, port)| (host, Some(port))),
        };
        let port = port.and_then(|text| match text {
            "" => (!server.ends_with(':')).then_some(HttpUrl::PORT),
            text => text.parse().ok().filter(|port| *port > 0),
        });
        let visible = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'"' | b'`' | b'\\' | b'#');
        let good = !host.is_empty() && path.len() <= MOST_PATH && path.bytes().all(visible);
        let Some(port) = port.filter(|_| good) else {
            self.add(value.span(), "this is no URL of a host, a port and a path", EXAMPLE);
            return None;
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(At {
            value: UrlFile {
                host: host.to_owned(),
                port,
                path: format!("{slash}{path}"),
            },
            span: value.span(),
        })
    }

    /// The services of a vm.
    pub(super) fn serve(&mut self, value: Option<&Value<'_>>) -> Vec<At<Serve>> {
        let mut services = Vec::new();
        for value in self.list(value) {
            let Some(table) = self.table(value) else { continue };
            for (key, example) in [("tcp", "tcp = 80"), ("text", "text = \"hello\"")] {
                if get(table, key).is_none() {
                    let help = format!("write `{example}`");
                    self.add(value.span(), format!("a service needs `{key}`"), help);
                }
            }
            let tcp = self.port_number(get(table, "tcp"));
            let text = get(table, "text").and_then(|value| self.line(value));
            if let (Some(tcp), Some(text)) = (tcp, text) {
                services.push(At {
                    value: Serve {
                        tcp: tcp.value,
                        text: text.value,
                    },
                    span: tcp.span,
                });
            }
        }
        services
    }

    /// The names that a router resolves.
    pub(super) fn resolved(&mut self, value: Option<&Value<'_>>) -> Vec<(DnsName, Vec<Ipv4Addr>)> {
        let Some(table) = value.and_then(|value| self.table(value)) else {
            return Vec::new();
        };
        let mut found: Vec<(DnsName, Vec<Ipv4Addr>)> = Vec::new();
        for (name, value) in table as &DeTable<'_> {
            let Some(At { value: name, span }) = self.name::<DnsName>(name.get_ref().as_ref(), name.span()) else {
                continue;
            };
            let list = self.one_or_more(Some(value));
            if list.is_empty() {
                self.add(value.span(), format!("`{name}` has no address"), "name at least one");
            }
            let addresses = list.into_iter().filter_map(|v| self.address(Some(v)));
            let addresses = addresses.map(|at| at.value).collect();
            if found.iter().any(|(other, _)| *other == name) {
                self.add(
                    span,
                    format!("`{name}` is written twice"),
                    "DNS ignores case: write it once",
                );
            }
            found.push((name, addresses));
        }
        found
    }
}

/// Whether a text that may be an address or a name is written like an address.
pub(in crate::lab) fn is_numeric(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    text.contains(':') || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
}

fn narrow(At { value, span }: At<u32>) -> Option<At<u16>> {
    Some(At {
        value: value.try_into().ok()?,
        span,
    })
}
