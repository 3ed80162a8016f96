//! The `[nova]` table: options under the names that nova-network gave them.

use super::{Reader, Value, get};
use crate::lab::file::{At, NovaFile};
use crate::lab::schema::choices;

impl Reader {
    pub(super) fn nova(&mut self, value: &Value<'_>) -> Option<NovaFile> {
        let table = self.table(value)?;
        if get(table, "manager").is_none() {
            let help = "write `manager = \"flat\"`, `\"flat-dhcp\"` or `\"vlan\"`";
            self.add(value.span(), "nova needs a `manager`", help);
        }
        let manager = self.choice(get(table, "manager"), "network manager", &choices::MANAGERS);
        self.released(table);
        let tenants = self.one_or_more(get(table, "tenants"));
        Some(NovaFile {
            span: value.span(),
            manager: manager?,
            tenants: tenants.into_iter().filter_map(|v| self.parsed(Some(v))).collect(),
            fixed_range: self.subnet(get(table, "fixed_range")),
            network_size: self.ranged(get(table, "network_size"), "network_size", choices::MOST_ADDRESSES),
            vlan_start: get(table, "vlan_start").and_then(|v| self.vlan(v)),
            vlan_interface: self.parsed(get(table, "vlan_interface")),
            flat_interface: self.parsed(get(table, "flat_interface")),
            flat_network_bridge: self.parsed(get(table, "flat_network_bridge")),
            public_interface: self.parsed(get(table, "public_interface")),
            routing_source_ip: self.address(get(table, "routing_source_ip")),
            network_host: self.parsed(get(table, "network_host")),
            multi_host: get(table, "multi_host")
                .filter(|value| self.boolean(Some(value)))
                .map(Value::span),
            gateway: self.address(get(table, "gateway")),
            network_device_mtu: get(table, "network_device_mtu").and_then(|v| self.mtu(v)),
            dns: self.addresses(get(table, "dns")),
            port_security: get(table, "port_security").is_none_or(|value| self.boolean(Some(value))),
        })
    }
}

impl NovaFile {
    /// Returns `value`, or the default with the span of the table.
    pub(in crate::lab) fn or<T: Clone>(&self, value: Option<&At<T>>, default: T) -> At<T> {
        value.cloned().unwrap_or(At {
            value: default,
            span: self.span.clone(),
        })
    }
}
