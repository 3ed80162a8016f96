//! The ssh configuration of a host. OpenSSH itself evaluates it (`ssh -G`), so that patterns, `Match`, `Include` and
//! defaults have their usual meaning.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{CONNECT_WITHIN, SshError};
use crate::lab::SshTarget;

/// The environment variable that names the file to read instead of `~/.ssh/config` and the system's, where this variable is set.
const CONFIG_FILE: &str = "NETLAB_SSH_CONFIG";

/// How a host is reached, as ssh's configuration describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// As the lab wrote it.
    pub target: SshTarget,
    /// The configuration file, where it is not the usual one.
    pub file: Option<PathBuf>,
    /// The real name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user there.
    pub user: String,
    /// The name under which known_hosts has the host's key, if it is not the real name.
    pub key_alias: Option<String>,
    /// Key files, in the order they are tried; not all need exist.
    pub identities: Vec<PathBuf>,
    /// Keys of the agent that are not among [`Self::identities`] are not tried.
    pub identities_only: bool,
    /// The agent's socket; none: no agent.
    pub agent: Option<PathBuf>,
    /// Files of known host keys, the user's first.
    pub known_hosts: Vec<PathBuf>,
    /// What the connection goes through.
    pub proxy: Proxy,
    /// How long connecting may take.
    pub connect_within: Duration,
}

/// What a connection to a host goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing.
    None,
    /// `ProxyJump`: through these hosts, the first one first.
    Jump(String),
    /// `ProxyCommand`, with its tokens replaced.
    Command(String),
}

impl Settings {
    /// Reads the settings of `target`, by one run of `ssh -G`.
    ///
    /// # Errors
    /// ssh(1) is missing, or rejects its configuration.
    pub fn read(target: &SshTarget) -> Result<Self, SshError> {
        Self::read_from(target, std::env::var_os(CONFIG_FILE).map(PathBuf::from))
    }

    /// The same with `file` in place of `~/.ssh/config` and the system's.
    pub fn read_from(target: &SshTarget, file: Option<PathBuf>) -> Result<Self, SshError> {
        let mut ssh = Command::new("ssh");
        if let Some(file) = &file {
            ssh.arg("-F").arg(file);
        }
        ssh.arg("-G").stdin(Stdio::null());
        if let Some(user) = target.user() {
            ssh.args(["-l", user]);
        }
        if let Some(port) = target.port() {
            ssh.args(["-p", &port.to_string()]);
        }
        let output = ssh
            .args(["--", target.host()])
            .output()
            .map_err(|_| SshError::NoOpenSsh { program: "ssh" })?;
        if !output.status.success() {
            return Err(SshError::Config {
                target: target.clone(),
                message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        let settings = Self::parse(target, &String::from_utf8_lossy(&output.stdout))?;
        Ok(Self { file, ..settings })
    }

    /// Parses the output of `ssh -G`.
    fn parse(target: &SshTarget, text: &str) -> Result<Self, SshError> {
        let values = |key: &str| {
            let key = format!("{key} ");
            text.lines()
                .filter_map(move |line| line.strip_prefix(&key).map(ToOwned::to_owned))
                .collect::<Vec<_>>()
        };
        let value = |key: &str| values(key).into_iter().next().filter(|value| value != "none");
        let missing = |setting| SshError::MissingSetting {
            target: target.clone(),
            setting,
        };
        let host = value("hostname").ok_or_else(|| missing("hostname"))?;
        let user = value("user").ok_or_else(|| missing("user"))?;
        let port = value("port")
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| missing("port"))?;
        let tokens = Tokens {
            target,
            host: &host,
            port,
            user: &user,
        };
        let files = |key: &str| {
            let lines = values(key);
            let files = lines.iter().flat_map(|line| line.split_whitespace());
            files
                .filter(|file| *file != "none")
                .map(|file| tokens.path(file))
                .collect::<Vec<_>>()
        };
        let proxy = match (value("proxyjump"), value("proxycommand")) {
            (Some(jump), _) => Proxy::Jump(jump),
            (None, Some(command)) => Proxy::Command(tokens.replaced(&command)),
            (None, None) => Proxy::None,
        };
        let agent = match values("identityagent").into_iter().next().as_deref() {
            Some("none") => None,
            None | Some("SSH_AUTH_SOCK" | "$SSH_AUTH_SOCK") => std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
            Some(path) => Some(tokens.path(path)),
        };
        Ok(Self {
            key_alias: value("hostkeyalias"),
            // One per line, and a path may hold blanks.
            identities: values("identityfile")
                .iter()
                .filter(|file| *file != "none")
                .map(|file| tokens.path(file))
                .collect(),
            identities_only: value("identitiesonly").as_deref() == Some("yes"),
            agent,
            known_hosts: files("userknownhostsfile")
                .into_iter()
                .chain(files("globalknownhostsfile"))
                .collect(),
            proxy,
            connect_within: value("connecttimeout")
                .and_then(|seconds| seconds.parse().ok())
                .filter(|seconds| *seconds > 0)
                .map_or(CONNECT_WITHIN, Duration::from_secs),
            target: target.clone(),
            file: None,
            host,
            port,
            user,
        })
    }

    /// Returns host and port for messages and known_hosts: the port only where it is not 22 (sshd(8)).
    pub fn place(&self) -> String {
        place(&self.host, self.port)
    }

    /// Returns the command of ssh(1) that opens a login shell on the host.
    pub fn login(&self) -> Vec<String> {
        let mut words = vec!["ssh".to_owned()];
        if let Some(file) = &self.file {
            words.extend(["-F".to_owned(), file.display().to_string()]);
        }
        if let Some(user) = self.target.user() {
            words.extend(["-l", user].map(ToOwned::to_owned));
        }
        if let Some(port) = self.target.port() {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        words.extend(["--", self.target.host()].map(ToOwned::to_owned));
        words
    }

    /// Returns the name under which known_hosts has the host.
    pub fn key_name(&self) -> String {
        match &self.key_alias {
            Some(alias) => alias.clone(),
            None => self.place(),
        }
    }
}

fn place(host: &str, port: u16) -> String {
    if port == 22 {
        host.to_owned()
    } else {
        format!("[{host}]:{port}")
    }
}

/// The tokens of ssh_config(5) that paths and commands may hold.
struct Tokens<'a> {
    target: &'a SshTarget,
    host: &'a str,
    port: u16,
    user: &'a str,
}

impl Tokens<'_> {
    fn replaced(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match (c, (c == '%').then(|| rest.next()).flatten()) {
                ('%', Some('%')) => out.push('%'),
                ('%', Some('h')) => out.push_str(self.host),
                ('%', Some('n' | 'k')) => out.push_str(self.target.host()),
                ('%', Some('p')) => out.push_str(&self.port.to_string()),
                ('%', Some('r')) => out.push_str(self.user),
                ('%', Some('d')) => out.push_str(&home()),
                ('%', Some(other)) => out.extend(['%', other]),
                (c, _) => out.push(c),
            }
        }
        out
    }

    fn path(&self, text: &str) -> PathBuf {
        let text = self.replaced(text.trim_matches('"'));
        match text.strip_prefix("~/") {
            Some(rest) => PathBuf::from(home()).join(rest),
            None => PathBuf::from(text),
        }
    }
}

fn home() -> String {
    std::env::home_dir().map_or_else(String::new, |home| home.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "host h\nuser bob\nhostname 10.0.0.9\nport 2222\nidentitiesonly yes\nidentityfile ~/a key\n\
                        identityfile /k/%h-%r\nuserknownhostsfile /a /b/%n\nglobalknownhostsfile /etc/x\n\
                        connecttimeout 3\n";

    fn parse(more: &str) -> Settings {
        let target = "ssh://h".parse().unwrap();
        Settings::parse(&target, &format!("{PRINTED}{more}")).unwrap()
    }

    #[test]
    fn the_output_of_ssh_is_read() {
        let settings = parse("");
        assert_eq!(settings.place(), "[10.0.0.9]:2222");
        assert_eq!(settings.user, "bob");
        assert!(settings.identities_only);
        assert_eq!(settings.identities[0], PathBuf::from(home()).join("a key"));
        assert_eq!(settings.identities[1], PathBuf::from("/k/10.0.0.9-bob"));
        assert_eq!(
            settings.known_hosts,
            ["/a", "/b/h", "/etc/x"].map(PathBuf::from).to_vec()
        );
        assert_eq!(settings.proxy, Proxy::None);
        assert_eq!(settings.connect_within, Duration::from_secs(3));
    }

    #[test]
    fn a_proxy_is_a_jump_or_a_command_with_its_tokens_replaced() {
        assert_eq!(parse("proxyjump a,b\n").proxy, Proxy::Jump("a,b".to_owned()));
        let command = parse("proxycommand nc -x %% %h %p %r %n\n").proxy;
        assert_eq!(command, Proxy::Command("nc -x % 10.0.0.9 2222 bob h".to_owned()));
        assert_eq!(parse("proxycommand none\n").proxy, Proxy::None);
    }

    #[test]
    fn the_usual_port_is_not_part_of_the_name_in_known_hosts() {
        assert_eq!(place("h", 22), "h");
        assert_eq!(place("h", 23), "[h]:23");
        assert_eq!(parse("hostkeyalias other\n").key_name(), "other");
    }

    #[test]
    fn an_agent_can_be_turned_off() {
        assert_eq!(parse("identityagent none\n").agent, None);
        assert_eq!(parse("identityagent /x/agent\n").agent, Some("/x/agent".into()));
    }
}
