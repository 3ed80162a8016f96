//! What a lab asks of services, and which simple services its guests run.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::{Asked, DnsName, VmName};

/// A question about a service or a path, and the answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCheck {
    /// What reports call it; absent: the question itself.
    pub name: Option<String>,
    /// The guests, hosts and routers that ask.
    pub from: Vec<Asked>,
    /// What they ask.
    pub question: Question,
    /// Whether the answer must be as described; false: it must not.
    pub reach: bool,
    /// What is shown where it fails.
    pub hint: Option<String>,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Whether a TCP connection is made.
    Tcp {
        /// With whom.
        to: Target,
        /// The port.
        port: u16,
    },
    /// What a web server answers to GET. Redirects are followed.
    Http {
        /// The page.
        url: HttpUrl,
        /// The status it must have; absent: any from 200 to 299.
        status: Option<u16>,
        /// What a line of the page must contain.
        text: Option<String>,
    },
    /// What the asker's own name servers answer.
    Dns {
        /// The name.
        name: DnsName,
        /// The IPv4 addresses that it must have, and no others; empty: those that the lab gives it, else any.
        answer: BTreeSet<Ipv4Addr>,
    },
    /// How a path is, by ping.
    Ping {
        /// Its other end.
        to: Target,
        /// The longest mean round trip in milliseconds.
        max_rtt_ms: Option<u32>,
        /// The size of the packets in bytes, which are not to be fragmented.
        mtu: Option<u16>,
    },
}

/// Whom a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An address.
    Address(IpAddr),
    /// A guest of the lab, by the address that the lab gives it.
    Vm(VmName),
    /// A name that the asker resolves.
    Name(DnsName),
}

/// A web page without encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// The server.
    pub host: Target,
    /// Its port.
    pub port: u16,
    /// Path and query, with the leading `/`: visible ASCII without quotes.
    pub path: String,
}

/// A service that a guest runs: it answers HTTP requests and everything else with a line of text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Serve {
    /// The TCP port.
    pub tcp: u16,
    /// The text: one line of printable ASCII.
    pub text: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Vm(name) => name.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// As in lab.toml.
impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_host(&self.host.to_string()))
    }
}

impl HttpUrl {
    /// The port of HTTP (RFC 9110, 4.2.1).
    pub const PORT: u16 = 80;

    /// Returns the URL with another host in it.
    pub fn with_host(&self, host: &str) -> String {
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let port = if self.port == Self::PORT {
            String::new()
        } else {
            format!(":{}", self.port)
        };
        format!("http://{host}{port}{}", self.path)
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { to, port } => write!(f, "tcp {to}:{port}"),
            Self::Http { url, .. } => url.fmt(f),
            Self::Dns { name, .. } => write!(f, "dns {name}"),
            Self::Ping { to, max_rtt_ms, mtu } => {
                write!(f, "ping {to}")?;
                if let Some(mtu) = mtu {
                    write!(f, ", packets of {mtu} bytes")?;
                }
                max_rtt_ms.map_or(Ok(()), |most| write!(f, ", within {most} ms"))
            }
        }
    }
}
