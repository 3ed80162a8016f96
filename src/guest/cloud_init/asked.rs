//! Which of cloud-init's modules do what a lab file asks for.

use std::collections::BTreeSet;

use crate::state::GuestConfig;
use crate::yaml;

/// Keys of a `#cloud-config` and the modules that read them, where these are not named alike (cloud-init's documentation,
/// "Module reference"). Names are written with `_`: releases differ in that.
const MODULES: &[(&str, &[&str])] = &[
    ("apk_repos", &["apk_configure"]),
    ("apt", &["apt_configure"]),
    ("byobu_by_default", &["byobu"]),
    ("chpasswd", &["set_passwords"]),
    ("device_aliases", &["disk_setup"]),
    ("disable_root", &["ssh", "users_groups"]),
    ("fqdn", &["set_hostname", "update_hostname"]),
    ("fs_setup", &["disk_setup"]),
    ("groups", &["users_groups"]),
    ("hostname", &["set_hostname", "update_hostname"]),
    ("locale_configfile", &["locale"]),
    ("manage_etc_hosts", &["update_etc_hosts"]),
    ("manage_resolv_conf", &["resolv_conf"]),
    ("mount_default_fields", &["mounts"]),
    ("package_reboot_if_required", &["package_update_upgrade_install"]),
    ("package_update", &["package_update_upgrade_install"]),
    ("package_upgrade", &["package_update_upgrade_install"]),
    ("packages", &["package_update_upgrade_install"]),
    ("password", &["set_passwords"]),
    ("power_state", &["power_state_change"]),
    ("random_seed", &["seed_random"]),
    ("resize_rootfs", &["resizefs"]),
    ("runcmd", &["runcmd", "scripts_user"]),
    ("ssh_authorized_keys", &["ssh", "users_groups"]),
    ("ssh_deletekeys", &["ssh"]),
    ("ssh_genkeytypes", &["ssh"]),
    ("ssh_keys", &["ssh"]),
    ("ssh_publish_hostkeys", &["ssh"]),
    ("ssh_pwauth", &["set_passwords"]),
    ("swap", &["mounts"]),
    ("ubuntu_advantage", &["ubuntu_advantage", "ubuntu_pro"]),
    ("ubuntu_pro", &["ubuntu_advantage", "ubuntu_pro"]),
    ("user", &["users_groups"]),
    ("users", &["users_groups", "set_passwords"]),
    ("write_files", &["write_files", "write_files_deferred"]),
    ("yum_repos", &["yum_add_repo"]),
    ("zypper", &["zypper_add_repo"]),
];

/// What a lab file asks cloud-init for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Modules that do it; absent: any may.
    modules: Option<BTreeSet<String>>,
    /// It is more than every guest needs, and nothing else shows whether it was done.
    work: bool,
}

impl Asked {
    /// What the seed disk of `config` asks for: an account, keys, packages and the user's own settings.
    pub fn by(config: &GuestConfig) -> Self {
        let mut keys = BTreeSet::new();
        if config.console.login.is_some() {
            keys.extend(["users".to_owned(), "ssh_pwauth".to_owned()]);
        }
        if !config.cloud_init.ssh_keys.is_empty() {
            keys.insert("ssh_authorized_keys".to_owned());
        }
        if !config.cloud_init.packages.is_empty() {
            keys.extend(["packages".to_owned(), "apt".to_owned()]);
        }
        let work = config.cloud_init.is_work();
        if let Some(data) = &config.cloud_init.user_data {
            match data.text() {
                // A script is run by this module.
                Some(script) if script.starts_with("#!") => _ = keys.insert("scripts_user".to_owned()),
                text => match text.and_then(yaml::keys) {
                    Some(users) => keys.extend(users),
                    None => return Self { modules: None, work },
                },
            }
        }
        let modules = keys.iter().flat_map(|key| modules(&normal(key)));
        Self {
            modules: Some(modules.collect()),
            work,
        }
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Self {
            modules: Some(BTreeSet::new()),
            work: false,
        }
    }

    /// Whether `module` does what was asked for. Without a module, a stage of cloud-init failed as a whole, which may have left
    /// out anything.
    pub fn includes(&self, module: Option<&str>) -> bool {
        match (&self.modules, module) {
            (Some(modules), Some(module)) => modules.contains(&normal(module)),
            (None, Some(_)) => true,
            (_, None) => self.work,
        }
    }
}

/// Returns the modules that read a key: by the table, else the one of the same name.
fn modules(key: &str) -> Vec<String> {
    let row = MODULES.iter().find(|(name, _)| *name == key);
    row.map_or_else(
        || vec![key.to_owned()],
        |(_, modules)| modules.iter().map(ToString::to_string).collect(),
    )
}

/// Returns a name as newer releases write it.
fn normal(name: &str) -> String {
    name.trim_start_matches("cc_").replace('-', "_").to_lowercase()
}
