//! The record of the configuration of an attached NIC, kept on the NIC itself: its alias. Compact, since an alias has 255
//! bytes, and readable, since somebody may have to restore a NIC by hand:
//!
//! ```text
//! netlab:quickstart:was br1 up 172.16.99.108/24,b >0.0.0.0/0,v172.16.99.1,pdhcp @old%20alias
//! ```
//!
//! The bridge, the NIC's state, its addresses, its routes after `>`, its alias after `@`. An address can have: `b`
//! the usual broadcast address (or `b` with another), `s` scope, `l` label, `m` metric, and the flags `n`
//! noprefixroute, `t` mngtmpaddr, `d` nodad. A route: `v` gateway, `s` source, `m` metric, `p` protocol, `c` scope, and
//! the flags `o` onlink, `f` first of several alike.

use std::fmt::{self, Write};
use std::str::FromStr;

use ipnet::IpNet;

use super::error::AttachError;
use super::mark::WAS;
use crate::lab::{IfName, LabName};
use crate::plan::lines::{ALIAS_LIMIT, Address, Hop, NicState};
use crate::state::Route;

/// The configuration that a NIC had, and the bridge that it is attached to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub bridge: IfName,
    pub was: NicState,
}

impl Record {
    /// Returns the alias that holds the record.
    pub fn alias(&self, lab: &LabName) -> Result<String, AttachError> {
        let text = self.to_string();
        let alias = format!("netlab:{lab}:{WAS}{text}");
        if alias.len() > ALIAS_LIMIT {
            return Err(AttachError::RecordTooLong { length: alias.len() });
        }
        // Whatever a record cannot express shows here, before the NIC is touched.
        match text.parse() {
            Ok(Self { bridge, was }) if bridge == self.bridge && was == constant(&self.was) => Ok(alias),
            _ => Err(AttachError::Unrecordable { record: text }),
        }
    }
}

/// Returns the part that does not change by itself; the rest is read again from where the addresses and routes are.
fn constant(state: &NicState) -> NicState {
    let mut constant = NicState {
        dated: Vec::new(),
        ..state.clone()
    };
    for address in &mut constant.addresses {
        address.lifetime = None;
    }
    for hop in &mut constant.routes {
        hop.expires = None;
    }
    constant
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bridge,
            was:
                NicState {
                    up,
                    addresses,
                    routes,
                    dated: _,
                    alias,
                },
        } = self;
        write!(f, "{bridge} {}", if *up { "up" } else { "down" })?;
        for address in addresses {
            f.write_char(' ')?;
            write_address(f, address)?;
        }
        for hop in routes {
            f.write_str(" >")?;
            write_hop(f, hop)?;
        }
        if !alias.is_empty() {
            f.write_str(" @")?;
            for byte in alias.bytes() {
                match byte {
                    b'%' | b'#' | b'\\' | b'"' | b'\'' | ..=b' ' | 0x7f.. => write!(f, "%{byte:02x}")?,
                    plain => f.write_char(plain.into())?,
                }
            }
        }
        Ok(())
    }
}

fn write_address(f: &mut fmt::Formatter<'_>, address: &Address) -> fmt::Result {
    let Address {
        net,
        broadcast,
        scope,
        label,
        metric,
        noprefixroute,
        mngtmpaddr,
        nodad,
        lifetime: _,
    } = address;
    write!(f, "{net}")?;
    match broadcast {
        usual if usual.is_some() && *usual == Address::usual_broadcast(*net) => f.write_str(",b")?,
        other => attribute(f, 'b', other.as_ref())?,
    }
    attribute(f, 's', scope.as_ref())?;
    attribute(f, 'l', label.as_ref())?;
    attribute(f, 'm', metric.as_ref())?;
    for (flag, key) in [(noprefixroute, ",n"), (mngtmpaddr, ",t"), (nodad, ",d")] {
        if *flag {
            f.write_str(key)?;
        }
    }
    Ok(())
}

fn write_hop(f: &mut fmt::Formatter<'_>, hop: &Hop) -> fmt::Result {
    let Hop {
        route:
            Route {
                to,
                via,
                source,
                metric,
                protocol,
            },
        scope,
        onlink,
        expires: _,
        first,
    } = hop;
    write!(f, "{to}")?;
    attribute(f, 'v', via.as_ref())?;
    attribute(f, 's', source.as_ref())?;
    attribute(f, 'm', metric.as_ref())?;
    attribute(f, 'p', protocol.as_ref())?;
    attribute(f, 'c', scope.as_ref())?;
    for (flag, key) in [(onlink, ",o"), (first, ",f")] {
        if *flag {
            f.write_str(key)?;
        }
    }
    Ok(())
}

fn attribute<T: fmt::Display>(f: &mut fmt::Formatter<'_>, key: char, value: Option<&T>) -> fmt::Result {
    match value {
        Some(value) => write!(f, ",{key}{value}"),
        None => Ok(()),
    }
}

impl FromStr for Record {
    /// The first token that is invalid.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut tokens = text.split(' ');
        let bridge = tokens.next().unwrap_or_default();
        let bridge = IfName::new(bridge).map_err(|_| bridge.to_owned())?;
        let mut was = NicState {
            up: match tokens.next() {
                Some("up") => true,
                Some("down") => false,
                other => return Err(other.unwrap_or_default().to_owned()),
            },
            ..NicState::default()
        };
        for token in tokens {
            let invalid = || token.to_owned();
            if let Some(route) = token.strip_prefix('>') {
                was.routes.push(read_hop(route).ok_or_else(invalid)?);
            } else if let Some(alias) = token.strip_prefix('@') {
                was.alias = unescaped(alias).ok_or_else(invalid)?;
            } else {
                was.addresses.push(read_address(token).ok_or_else(invalid)?);
            }
        }
        Ok(Self { bridge, was })
    }
}

/// Splits a token into the part before the first comma and the attributes after it, as key and value.
fn parts(token: &str) -> (&str, impl Iterator<Item = Option<(char, &str)>>) {
    let mut parts = token.split(',');
    let head = parts.next().unwrap_or_default();
    let attributes = parts.map(|part| {
        let key = part.chars().next()?;
        Some((key, &part[key.len_utf8()..]))
    });
    (head, attributes)
}

fn read_address(token: &str) -> Option<Address> {
    let (net, attributes) = parts(token);
    let net: IpNet = net.parse().ok()?;
    let mut address = Address {
        net,
        broadcast: None,
        scope: None,
        label: None,
        metric: None,
        noprefixroute: false,
        mngtmpaddr: false,
        nodad: false,
        lifetime: None,
    };
    for attribute in attributes {
        match attribute? {
            ('b', "") => address.broadcast = Address::usual_broadcast(net),
            ('b', other) => address.broadcast = Some(other.parse().ok()?),
            ('s', scope) => address.scope = Some(scope.to_owned()),
            ('l', label) => address.label = Some(label.to_owned()),
            ('m', metric) => address.metric = Some(metric.parse().ok()?),
            ('n', "") => address.noprefixroute = true,
            ('t', "") => address.mngtmpaddr = true,
            ('d', "") => address.nodad = true,
            _ => return None,
        }
    }
    Some(address)
}

fn read_hop(token: &str) -> Option<Hop> {
    let (to, attributes) = parts(token);
    let mut hop = Hop {
        route: Route {
            to: to.parse().ok()?,
            via: None,
            source: None,
            metric: None,
            protocol: None,
        },
        scope: None,
        onlink: false,
        expires: None,
        first: false,
    };
    for attribute in attributes {
        match attribute? {
            ('v', via) => hop.route.via = Some(via.parse().ok()?),
            ('s', source) => hop.route.source = Some(source.parse().ok()?),
            ('m', metric) => hop.route.metric = Some(metric.parse().ok()?),
            ('p', protocol) => hop.route.protocol = Some(protocol.to_owned()),
            ('c', scope) => hop.scope = Some(scope.to_owned()),
            ('o', "") => hop.onlink = true,
            ('f', "") => hop.first = true,
            _ => return None,
        }
    }
    Some(hop)
}

/// Decodes `%xx`.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "br1 up 172.16.99.108/24,b 10.1.0.1/16,b10.1.9.9,slink,leth0:1,m5,n 2001:db8::7/64,t,d \
                        >0.0.0.0/0,v172.16.99.1,s172.16.99.108,m100,pdhcp,o,f >10.9.0.0/16,cglobal @it%27s %25 mine";

    #[test]
    fn a_record_is_read_back_unchanged() {
        for text in [
            "br1 down",
            "br1 up 10.0.0.1/24,b @x%20%22y%c3%a4",
            &FULL.replace(" %25 ", "%20%25%20"),
        ] {
            assert_eq!(text.parse::<Record>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_record_that_is_not_whole_is_not_read() {
        for text in [
            "",
            "br1",
            "br1 sideways",
            "x;id up",
            "br1 up 10.0.0.1",
            "br1 up 10.0.0.1/24,z1",
            "br1 up 10.0.0.1/24,",
            "br1 up 10.0.0.1/24,bx",
            "br1 up >0.0.0.0/0,v",
            "br1 up @%4",
            "br1 up @%zz",
            "br1 up  10.0.0.1/24",
            FULL,
        ] {
            assert!(text.parse::<Record>().is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn a_record_that_does_not_fit_into_an_alias_is_refused() {
        let lab = LabName::new("quickstart").unwrap();
        let mut record: Record = "br1 up".parse().unwrap();
        let address = read_address("2001:db8:1111:2222:3333:4444:5555:6666/64").unwrap();
        record.was.addresses = vec![address; 6];
        assert!(record.alias(&lab).unwrap_err().to_string().contains("255"));
        record.was.addresses.truncate(5);
        assert!(record.alias(&lab).unwrap().len() <= ALIAS_LIMIT);
    }

    #[test]
    fn what_the_record_cannot_express_is_refused_and_not_lost() {
        let lab = LabName::new("quickstart").unwrap();
        let mut record: Record = "br1 up 10.0.0.1/24".parse().unwrap();
        record.was.addresses[0].label = Some("eth0:a b".to_owned());
        assert!(record.alias(&lab).is_err());
    }
}
