//! Networks and address translation.

use toml::de::{DeTable, DeValue};

use super::{Reader, Value, get};
use crate::lab::NetworkName;
use crate::lab::file::{At, GatewayFile, NatFile, NatFrom, NetworkFile, OnFile, RouteFile, UplinkFile};
use crate::lab::lease::parse_lease;
use crate::lab::schema::choices::{self, LEAST_MTU, MOST_DELAY, MOST_MTU};

impl Reader {
    pub(super) fn network(&mut self, name: At<NetworkName>, table: &DeTable<'_>) -> NetworkFile {
        if get(table, "subnet").is_none() {
            self.add(
                name.span.clone(),
                format!("network `{}` has no subnet", name.value),
                "write `subnet = \"10.0.1.0/24\"`",
            );
        }
        let uplink = get(table, "uplink").map(|v| self.uplink(v));
        let gateway = get(table, "gateway").map(|v| self.gateway(v));
        let wrong_gateway = matches!(gateway, Some(None));
        self.released(table);
        let dhcp = get(table, "dhcp").and_then(|v| self.dhcp(v)).filter(|_| !wrong_gateway);
        NetworkFile {
            class: self
                .choice(get(table, "class"), "network class", &choices::CLASSES)
                .unwrap_or_default(),
            subnet: self.subnet(get(table, "subnet")),
            // Without its uplink, a VLAN is no further mistake.
            vlan: get(table, "vlan")
                .and_then(|v| self.vlan(v))
                .filter(|_| !matches!(uplink, Some(None))),
            uplink: uplink.flatten(),
            bridge: self.parsed(get(table, "bridge")),
            bridge_mac: self.per_host(get(table, "bridge_mac")),
            stp: self.boolean(get(table, "stp")),
            isolated: get(table, "isolated")
                .filter(|value| self.boolean(Some(value)))
                .map(Value::span),
            forward_delay: get(table, "forward_delay").and_then(|v| self.forward_delay(v)),
            mtu: get(table, "mtu").and_then(|v| self.mtu(v)),
            ovs: self
                .choice(get(table, "switch"), "switch", &choices::SWITCHES)
                .unwrap_or_default(),
            datapath: get(table, "datapath").and_then(|v| {
                let value = self.choice(Some(v), "datapath", &choices::DATAPATHS)?;
                let span = v.span();
                Some(At { value, span })
            }),
            tunnel: get(table, "tunnel").and_then(|v| {
                let value = self.choice(Some(v), "tunnel", &choices::TUNNELS)?;
                let span = v.span();
                Some(At { value, span })
            }),
            key: self.ranged(get(table, "key"), "key", u32::MAX),
            underlay: get(table, "underlay").and_then(|v| {
                let value = self.string(v)?.to_owned();
                let span = v.span();
                Some(At { value, span })
            }),
            addresses: self.host_addresses(get(table, "addresses")),
            gateway: gateway.flatten(),
            wrong_gateway,
            dhcp_lease: dhcp.as_ref().and_then(|dhcp| dhcp.value),
            dhcp: dhcp.map(|dhcp| dhcp.span),
            nameservers: self.addresses(get(table, "nameservers")),
            tenant: {
                let tenant = self.parsed(get(table, "tenant"));
                self.kept(table, "tenant", tenant)
            },
            port_security: self.boolean(get(table, "port_security")),
            shaping: self.shaping(table),
            name,
        }
    }

    /// `force_dhcp_release`, which can only say what is always so.
    pub(super) fn released(&mut self, table: &DeTable<'_>) {
        if let Some(value) = get(table, "force_dhcp_release")
            && matches!(value.get_ref(), DeValue::Boolean(false))
        {
            let message = "the lease of a vm that is removed is always released";
            self.add(value.span(), message, "remove `force_dhcp_release`, or write `true`");
        } else {
            self.boolean(get(table, "force_dhcp_release"));
        }
    }

    fn uplink(&mut self, value: &Value<'_>) -> Option<UplinkFile> {
        match value.get_ref() {
            DeValue::Table(_) => Some(UplinkFile::PerHost(self.per_host(Some(value)))),
            DeValue::String(_) => self.parsed(Some(value)).map(UplinkFile::Everywhere),
            _ => {
                self.wrong_type(value, "a NIC's name or a table of host to NIC");
                None
            }
        }
    }

    /// `dhcp`: absent where it is `false` or wrong, else how long a lease lasts, in seconds.
    fn dhcp(&mut self, value: &Value<'_>) -> Option<At<Option<u32>>> {
        let span = value.span();
        let value = match value.get_ref() {
            DeValue::Boolean(true) => None,
            DeValue::Boolean(false) => return None,
            DeValue::Table(_) => {
                let table = self.table(value)?;
                get(table, "lease").and_then(|lease| self.lease(lease))
            }
            _ => {
                self.wrong_type(value, "true, false or a table such as { lease = \"12h\" }");
                return None;
            }
        };
        Some(At { value, span })
    }

    fn lease(&mut self, value: &Value<'_>) -> Option<u32> {
        let parsed = parse_lease(self.string(value)?);
        if let Err(message) = &parsed {
            self.add(value.span(), message.clone(), "write e.g. `dhcp = { lease = \"12h\" }`");
        }
        parsed.ok()
    }

    fn forward_delay(&mut self, value: &Value<'_>) -> Option<At<u8>> {
        let At { value, span } = self.integer(Some(value))?;
        let seconds = u8::try_from(value).ok().filter(|seconds| *seconds <= MOST_DELAY);
        if seconds.is_none() {
            let help = format!("a forward delay is a number of seconds, at most {MOST_DELAY}");
            self.add(span.clone(), "forward_delay is out of range", help);
        }
        seconds.map(|value| At { value, span })
    }

    pub(super) fn mtu(&mut self, value: &Value<'_>) -> Option<u16> {
        let At { value, span } = self.integer(Some(value))?;
        let mtu = u16::try_from(value).ok();
        let mtu = mtu.filter(|mtu| (LEAST_MTU..=MOST_MTU).contains(&u32::from(*mtu)));
        if mtu.is_none() {
            let help = format!("an MTU is a number of bytes from {LEAST_MTU} to {MOST_MTU}");
            self.add(span, "mtu is out of range", help);
        }
        mtu
    }

    fn gateway(&mut self, value: &Value<'_>) -> Option<GatewayFile> {
        let table = self.table(value)?;
        if get(table, "address").is_none() {
            self.add(value.span(), "a gateway needs an `address`", "");
        }
        let on = match get(table, "on") {
            None => OnFile::Absent,
            Some(on) if matches!(on.get_ref(), DeValue::String(text) if text == "every-host") => OnFile::Every,
            Some(on) => self.parsed(Some(on)).map_or(OnFile::Wrong, OnFile::One),
        };
        let address = self.address(get(table, "address"))?;
        Some(GatewayFile { address, on })
    }

    pub(super) fn route(&mut self, value: &Value<'_>) -> Option<RouteFile> {
        let table = self.table(value)?;
        if get(table, "between").is_none() {
            let help = "write `between = [\"red\", \"blue\"]`";
            self.add(value.span(), "a route needs `between`", help);
        }
        let between = self.list(get(table, "between"));
        let between = between.into_iter().map(|v| self.parsed(Some(v)));
        let between: Option<Vec<_>> = between.collect();
        Some(RouteFile {
            span: value.span(),
            between: self.kept(table, "between", between)?,
        })
    }

    pub(super) fn nat(&mut self, value: &Value<'_>) -> Option<NatFile> {
        let table = self.table(value)?;
        for (key, example) in [
            ("from", "from = [\"172.16.99.0/24\", \"service\"]"),
            ("out", "out = \"eth1\""),
        ] {
            if get(table, key).is_none() {
                self.add(
                    value.span(),
                    format!("a nat rule needs `{key}`"),
                    format!("write `{example}`"),
                );
            }
        }
        let from = self.one_or_more(get(table, "from"));
        Some(NatFile {
            span: value.span(),
            on: self.parsed(get(table, "on")),
            from: from.into_iter().filter_map(|v| self.nat_from(v)).collect(),
            out: self.parsed(get(table, "out")),
            source: self.address(get(table, "source")),
        })
    }

    /// A subnet, or a network's name.
    fn nat_from(&mut self, value: &Value<'_>) -> Option<At<NatFrom>> {
        let text = self.string(value)?;
        let span = value.span();
        let value = if text.contains('/') {
            NatFrom::Subnet(self.name(text, span.clone())?.value)
        } else {
            NatFrom::Network(self.name(text, span.clone())?.value)
        };
        Some(At { value, span })
    }
}
