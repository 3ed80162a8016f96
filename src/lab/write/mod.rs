//! Writes a [`Lab`] as the plain lab file that reads back as the same lab: what `netlab plan --expand` and `netlab import`
//! print. The only writer of lab files.

mod image;
mod services;
mod setup;

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use super::schema::choices::{CLASSES, name_of};
use super::{
    Bond, Class, Connect, ExtraDisk, Forward, GatewayHosts, HostName, IfName, ImageEntry, ImageName, Lab, LabBond,
    LabHostNic, NatRule, Network, Nic, PortMode, Shaping, SwitchKind, Tunnel, Uplinks, Vm,
};

/// The image of a vm that has none of its own.
const DEFAULT_IMAGE: &str = "mini";

/// Returns the lab's file. Reading it returns the same lab, except for warnings.
pub fn write(lab: &Lab) -> String {
    let mut out = Out::default();
    out.entry("name", quoted(&lab.name));
    out.setup(&lab.setup);
    for (name, host) in &lab.hosts {
        out.table(format_args!("[hosts.{name}]"));
        match &host.connect {
            Connect::Emulated => {}
            Connect::Local => out.entry("connect", quoted("local")),
            Connect::Ssh(target) => out.entry("connect", quoted(target)),
        }
        out.nics(&host.nics);
    }
    for (name, switch) in &lab.switches {
        if switch.stp || !switch.lags.is_empty() {
            out.table(format_args!("[switches.{name}]"));
        }
        if switch.stp {
            out.entry("stp", true);
        }
        if !switch.lags.is_empty() {
            let lags = switch.lags.iter().map(|lag| list(lag.ports.iter().map(quoted)));
            out.entry("lags", list(lags));
        }
        out.table(format_args!("[switches.{name}.ports]"));
        for (port, mode) in &switch.ports {
            out.entry(port, port_mode(mode));
        }
    }
    for (name, router) in &lab.routers {
        out.table(format_args!("[routers.{name}]"));
        out.nics(&router.nics);
        if router.to_host || !router.outside.is_empty() {
            let to_host = router.to_host.then(|| quoted("host"));
            out.entry(
                "outside",
                list(to_host.into_iter().chain(router.outside.iter().map(quoted))),
            );
        }
        if !router.names.is_empty() {
            out.entry("names", services::names(&router.names));
        }
    }
    for cable in &lab.cables {
        out.table("[[cables]]");
        let ends = cable
            .ends
            .iter()
            .map(|end| quoted(format_args!("{}:{}", end.host, end.nic)));
        out.entry("ends", list(ends));
        out.shaping(lab.cable_shaping.get(cable));
    }
    for (name, entry) in &lab.images {
        out.table(format_args!("[images.{}]", quoted(name)));
        out.image(entry);
    }
    for (name, network) in &lab.networks {
        out.table(format_args!("[networks.{name}]"));
        out.network(network);
    }
    for tenants in &lab.routes {
        out.table("[[route]]");
        out.entry("between", list(tenants.iter().map(quoted)));
    }
    for rule in &lab.nat {
        out.table("[[nat]]");
        out.nat(rule);
    }
    for (name, vm) in &lab.vms {
        out.table(format_args!("[vms.{name}]"));
        out.vm(vm);
    }
    out.verify(&lab.verify);
    out.0
}

#[derive(Default)]
struct Out(String);

impl Out {
    fn table(&mut self, head: impl Display) {
        // Writing to a `String` cannot fail; here and below.
        let _ = writeln!(self.0, "\n{head}");
    }

    fn entry(&mut self, key: impl Display, value: impl Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn maybe(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.entry(key, value);
        }
    }

    fn nics(&mut self, nics: &BTreeMap<IfName, LabHostNic>) {
        for (name, nic) in nics {
            let address = nic.address.map(|address| format!("address = {}", quoted(address)));
            let gateway = nic.gateway.map(|gateway| format!("gateway = {}", quoted(gateway)));
            let takeover = nic.takeover.then(|| "takeover = true".to_owned());
            let bond = nic.bond.iter().flat_map(bond);
            let kind = if nic.bond.is_some() { "bonds" } else { "nics" };
            let shaping = nic.shaping.iter().flat_map(Shaping::keys);
            self.entry(
                format_args!("{kind}.{}", key(name)),
                table(bond.chain(address).chain(gateway).chain(takeover).chain(shaping)),
            );
        }
    }

    fn network(&mut self, network: &Network) {
        let Network {
            class,
            subnet,
            uplinks,
            vlan,
            bridge,
            bridge_mac,
            stp,
            isolated,
            forward_delay,
            mtu,
            switch,
            tunnel,
            addresses,
            gateway,
            dhcp,
            dhcp_lease,
            nameservers,
            tenant,
            port_security,
            shaping,
        } = network;
        if *class != Class::default() {
            self.entry("class", quoted(class));
        }
        self.entry("subnet", quoted(subnet));
        match uplinks {
            Uplinks::None => {}
            Uplinks::Everywhere(nic) => self.entry("uplink", quoted(nic)),
            Uplinks::On(nics) => self.entry("uplink", per_host(nics)),
        }
        self.maybe("vlan", vlan.as_ref());
        self.maybe("bridge", bridge.as_ref().map(quoted));
        if !bridge_mac.is_empty() {
            self.entry("bridge_mac", per_host(bridge_mac));
        }
        if *stp {
            self.entry("stp", true);
        }
        if *isolated {
            self.entry("isolated", true);
        }
        self.maybe("forward_delay", forward_delay.as_ref());
        self.maybe("mtu", mtu.as_ref());
        if let SwitchKind::Ovs(datapath) = switch {
            self.entry("switch", quoted("ovs"));
            self.maybe("datapath", datapath.map(quoted));
        }
        if let Some(Tunnel { kind, key, underlay }) = tunnel {
            self.entry("tunnel", quoted(kind));
            self.maybe("key", key.as_ref());
            self.maybe("underlay", underlay.as_ref().map(quoted));
        }
        if !addresses.is_empty() {
            self.entry("addresses", per_host(addresses));
        }
        if let Some(gateway) = gateway {
            let on = match &gateway.on {
                GatewayHosts::One(host) => quoted(host),
                GatewayHosts::Every => quoted("every-host"),
            };
            let address = format!("address = {}", quoted(gateway.address));
            self.entry("gateway", table([address, format!("on = {on}")]));
        }
        if let (true, Some(seconds)) = (*dhcp, dhcp_lease) {
            self.entry("dhcp", table([format!("lease = \"{seconds}s\"")]));
        } else if *dhcp {
            self.entry("dhcp", true);
        }
        if !nameservers.is_empty() {
            self.entry("nameservers", list(nameservers.iter().map(quoted)));
        }
        self.maybe("tenant", tenant.as_ref().map(quoted));
        if *port_security {
            self.entry("port_security", true);
        }
        self.shaping(shaping.as_ref());
    }

    /// Limits, as keys of a table.
    fn shaping(&mut self, shaping: Option<&Shaping>) {
        for key in shaping.iter().flat_map(|shaping| shaping.keys()) {
            let _ = writeln!(self.0, "{key}");
        }
    }

    fn nat(&mut self, rule: &NatRule) {
        let NatRule { on, from, out, source } = rule;
        self.entry("on", quoted(on));
        self.entry("from", list(from.iter().map(quoted)));
        self.entry("out", quoted(out));
        self.maybe("source", source.map(quoted));
    }

    fn vm(&mut self, vm: &Vm) {
        let Vm {
            host,
            image,
            memory_mib,
            disk_mib,
            disks,
            cdrom,
            cpus,
            nics,
            floating,
            serve,
            forward,
            setup,
        } = vm;
        self.entry("host", quoted(host));
        if image.as_str() != DEFAULT_IMAGE {
            self.entry("image", quoted(image));
        }
        self.maybe("memory", memory_mib.map(|mib| quoted(format_args!("{mib}MiB"))));
        self.maybe("disk", disk_mib.map(|mib| quoted(format_args!("{mib}MiB"))));
        if !disks.is_empty() {
            let disks = disks.iter().map(|disk| match disk {
                ExtraDisk::Blank { mib } => table([format!("size = {}", quoted(format_args!("{mib}MiB")))]),
                ExtraDisk::File(path) => table([format!("file = {}", quoted(path.display()))]),
            });
            self.entry("disks", list(disks));
        }
        self.maybe("cdrom", cdrom.as_ref().map(|path| quoted(path.display())));
        if *cpus != 1 {
            self.entry("cpus", cpus);
        }
        if !nics.is_empty() {
            self.entry("nics", list(nics.iter().map(nic)));
        }
        self.maybe("floating", floating.map(quoted));
        if !serve.is_empty() {
            self.entry("serve", list(serve.iter().map(services::serve)));
        }
        if !forward.is_empty() {
            let ports = forward
                .iter()
                .map(|Forward { host, guest }| table([format!("host = {host}"), format!("guest = {guest}")]));
            self.entry("forward", list(ports));
        }
        self.setup(setup);
    }
}

/// Returns a TOML string with `text`.
fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

/// Returns a key; an interface name can have a dot, which in TOML separates a table from its key.
fn key(name: &IfName) -> String {
    if name.as_str().contains('.') {
        quoted(name)
    } else {
        name.to_string()
    }
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

fn table(entries: impl IntoIterator<Item = String>) -> String {
    let entries: Vec<String> = entries.into_iter().collect();
    if entries.is_empty() {
        "{}".to_owned()
    } else {
        format!("{{ {} }}", entries.join(", "))
    }
}

fn per_host(values: &BTreeMap<HostName, impl Display>) -> String {
    table(values.iter().map(|(host, value)| format!("{host} = {}", quoted(value))))
}

/// Returns the entries of a bond that a NIC does not have.
fn bond(LabBond { nics, bond }: &LabBond) -> Vec<String> {
    let Bond {
        mode,
        miimon,
        lacp_rate,
        xmit_hash_policy,
        primary,
    } = bond;
    let mut entries = vec![
        format!("nics = {}", list(nics.iter().map(quoted))),
        format!("mode = {}", quoted(mode)),
    ];
    entries.extend(miimon.map(|miimon| format!("miimon = {miimon}")));
    entries.extend(lacp_rate.map(|rate| format!("lacp_rate = {}", quoted(rate))));
    entries.extend(xmit_hash_policy.map(|policy| format!("xmit_hash_policy = {}", quoted(policy))));
    entries.extend(primary.iter().map(|nic| format!("primary = {}", quoted(nic))));
    entries
}

fn port_mode(mode: &PortMode) -> String {
    match mode {
        PortMode::Open => table([]),
        PortMode::Access(vlan) => table([format!("access = {vlan}")]),
        PortMode::Trunk(vlans) => table([format!("trunk = {}", list(vlans.iter().map(ToString::to_string)))]),
    }
}

fn nic(nic: &Nic) -> String {
    let Nic {
        network,
        address,
        mac,
        port_security,
        shaping,
    } = nic;
    let address = address.map(|address| format!("address = {}", quoted(address)));
    let mac = mac.map(|mac| format!("mac = {}", quoted(mac)));
    table(
        [format!("network = {}", quoted(network))]
            .into_iter()
            .chain(address)
            .chain(mac)
            .chain(port_security.map(|yes| format!("port_security = {yes}")))
            .chain(shaping.iter().flat_map(Shaping::keys)),
    )
}

/// Writes one image as the table `[images.X]` of a lab file.
pub fn write_image(name: &ImageName, entry: &ImageEntry) -> String {
    let mut out = Out::default();
    // A dot in a bare key separates two keys.
    let key = if name.as_str().contains('.') {
        quoted(name)
    } else {
        name.to_string()
    };
    out.table(format_args!("[images.{key}]"));
    out.image(entry);
    out.0.trim_start().to_owned()
}

impl Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(name_of(&CLASSES, self))
    }
}
