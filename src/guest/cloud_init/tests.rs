use super::*;
use crate::guest::scripted::{Scripted, Shell, image, open};
use crate::lab::{Content, Login, Password, Proxies};
use crate::state::CloudConfig;

/// Debian 12's 22.4: a package that does not exist, and a module of the image that failed.
const OF_22_4: &str = r#"{
 "v1": {
  "datasource": "DataSourceNoCloud [seed=/dev/sr0][dsmode=net]",
  "init": { "errors": [], "finished": 1732743712.2, "start": 1732743708.9 },
  "init-local": { "errors": [], "finished": 1732743705.1, "start": 1732743702.3 },
  "modules-config": {
   "errors": [ "('locale', ProcessExecutionError(\"Unexpected error while running command.\\nCommand: ['locale-gen', 'en_US.UTF-8']\\nExit code: 1\\nReason: -\\nStdout: -\\nStderr: -\"))" ],
   "finished": 1732743717.0, "start": 1732743714.3
  },
  "modules-final": {
   "errors": [ "('package-update-upgrade-install', ProcessExecutionError('Unexpected error while running command.\\nCommand: eatmydata apt-get install nosuch\\nExit code: 100\\nReason: -\\nStdout: -\\nStderr: -'))" ],
   "finished": 1732743731.6, "start": 1732743720.0
  },
  "modules-init": null,
  "stage": null
 }
}"#;

/// 24.4: nothing failed, and something is deprecated.
const OF_24_4: &str = r#"{
 "v1": {
  "datasource": "DataSourceNoCloud [seed=/dev/sr0]",
  "init": {
   "errors": [], "finished": 12.4, "start": 10.9,
   "recoverable_errors": {
    "DEPRECATED": [ "The value of 'false' in user craig's 'sudo' config is deprecated in 22.2 and scheduled to be removed in 27.2." ],
    "WARNING": [ "cloud-config failed schema validation! You may run 'sudo cloud-init schema --system' to check the details." ]
   }
  },
  "init-local": { "errors": [], "finished": 8.2, "start": 7.1, "recoverable_errors": {} },
  "modules-config": { "errors": [], "finished": 15.0, "start": 14.0, "recoverable_errors": {} },
  "modules-final": {
   "errors": [ "('scripts_user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands'))" ],
   "finished": 17.6, "start": 16.0,
   "recoverable_errors": { "WARNING": [
     "Failed to run module scripts_user (scripts in /var/lib/cloud/instance/scripts)",
     "Running module scripts_user (<module 'cloudinit.config.cc_scripts_user' from '/usr/lib/python3/dist-packages/cloudinit/config/cc_scripts_user.py'>) failed"
   ] }
  },
  "stage": null
 }
}"#;

/// The end of /var/log/cloud-init-output.log.
const PRINTED: &str = "\
Cloud-init v. 22.4.2 running 'modules:config' at Fri, 27 Nov 2026 21:57:04 +0000. Up 105.86 seconds.
Generating locales
Cloud-init v. 22.4.2 running 'modules:final' at Fri, 27 Nov 2026 21:57:19 +0000. Up 121.71 seconds.
Reading package lists...
E: Unable to locate package nosuch
2026-11-27 21:57:20,990 - util.py[WARNING]: Running module package-update-upgrade-install (<module 'cloudinit.config'>) failed
Cloud-init v. 22.4.2 finished at Fri, 27 Nov 2026 21:57:22 +0000. Datasource DataSourceNoCloud.  Up 124.66 seconds
";

fn config(packages: &[&str], user_data: Option<&str>) -> GuestConfig {
    let mut console = image();
    console.login = Some(Login {
        prompt: "login: ".to_owned(),
        user: "alice".to_owned(),
        password: Some(Password::Text("secret".to_owned())),
        root_password: None,
    });
    GuestConfig {
        hostname: "web".parse().unwrap(),
        console,
        nics: Vec::new(),
        default_route: None,
        nameservers: Vec::new(),
        seeded: true,
        serve: Vec::new(),
        cloud_init: CloudConfig {
            ssh_keys: vec!["ssh-ed25519 AAAA me".to_owned()],
            packages: packages.iter().map(ToString::to_string).collect(),
            user_data: user_data.map(Content::from),
        },
        proxies: Proxies::default(),
    }
}

fn evaluated(config: &GuestConfig, said: Option<(i32, &str)>, status: &str) -> Verdict {
    let said = said.map(|(status, text)| (status, text.to_owned()));
    let recorded = serde_json::from_str(status).unwrap();
    evaluate(&Asked::by(config), said.as_ref(), &recorded)
}

#[test]
fn a_module_that_the_lab_file_needs_is_an_error_and_one_of_the_image_a_warning() {
    let verdict = evaluated(&config(&["nosuch"], None), Some((1, "status: error")), OF_22_4);
    assert_eq!(
        verdict.failed,
        [
            "the module package-update-upgrade-install of cloud-init failed: Unexpected error while running command.; Command: \
          eatmydata apt-get install nosuch; Exit code: 100"
        ]
    );
    assert_eq!(
        verdict.warnings,
        [
            "the module locale of cloud-init failed: Unexpected error while running command.; Command: ['locale-gen', \
          'en_US.UTF-8']; Exit code: 1; the lab file did not ask for it"
        ]
    );
    // The user asks for that one.
    let verdict = evaluated(&config(&[], Some("locale: en_US.UTF-8\n")), None, OF_22_4);
    assert!(
        verdict.failed.len() == 1 && verdict.failed[0].contains("locale"),
        "{verdict:?}"
    );
    // Nobody asks for anything.
    let verdict = evaluated(&config(&[], None), Some((1, "status: error")), OF_22_4);
    assert!(verdict.failed.is_empty() && verdict.warnings.len() == 2, "{verdict:?}");
}

#[test]
fn what_is_deprecated_is_a_warning_and_an_error_is_not_repeated_as_one() {
    let verdict = evaluated(
        &config(&[], Some("runcmd: [[false]]\n")),
        Some((1, "status: error")),
        OF_24_4,
    );
    assert_eq!(
        verdict.failed,
        ["the module scripts_user of cloud-init failed: Runparts: 1 failures (runcmd) in 1 attempted commands"]
    );
    let [deprecated, warning] = &verdict.warnings[..] else {
        panic!("{verdict:?}");
    };
    assert!(
        deprecated.starts_with("cloud-init: deprecated: The value of 'false'"),
        "{deprecated}"
    );
    assert!(
        warning.starts_with("cloud-init: warning: cloud-config failed schema"),
        "{warning}"
    );
    let degraded =
        r#"{ "v1": { "init": { "errors": [], "recoverable_errors": { "WARNING": [ "w" ] } }, "stage": null } }"#;
    let verdict = evaluated(&config(&["curl"], None), Some((2, "status: done")), degraded);
    assert_eq!(
        (verdict.failed.len(), &verdict.warnings[..]),
        (0, &["cloud-init: warning: w".to_owned()][..])
    );
}

#[test]
fn a_cloud_init_that_records_no_error_and_fails_is_an_error_only_where_it_had_work() {
    let said = Some((1, "status: error\ndetail:\nFailed due to systemd unit failure."));
    let nothing = r#"{ "v1": { "stage": null } }"#;
    assert_eq!(
        evaluated(&config(&["curl"], None), said, nothing).failed,
        ["cloud-init ended with status 1: status: error; detail:; Failed due to systemd unit failure."]
    );
    let verdict = evaluated(&config(&[], None), said, nothing);
    assert_eq!((verdict.failed.len(), verdict.warnings.len()), (0, 1));
    let whole = r#"{ "v1": { "init": { "errors": [ "can't find datasource\nat all" ] } } }"#;
    assert_eq!(
        evaluated(&config(&["curl"], None), said, whole).failed,
        ["the stage init of cloud-init failed: can't find datasource; at all"]
    );
    assert!(evaluated(&config(&[], None), said, whole).failed.is_empty());
}

#[test]
fn keys_of_the_users_settings_and_names_of_older_releases_mean_the_same_modules() {
    let data = "#cloud-config\nhostname: x\nca-certs: {}\nntp: {servers: [a]}\n";
    let asked = Asked::by(&config(&[], Some(data)));
    for module in [
        "set-hostname",
        "update_hostname",
        "ca-certs",
        "ca_certs",
        "ntp",
        "users-groups",
        "set-passwords",
    ] {
        assert!(asked.includes(Some(module)), "{module}");
    }
    for module in [
        "locale",
        "package-update-upgrade-install",
        "scripts-user",
        "scripts-vendor",
        "grub_dpkg",
    ] {
        assert!(!asked.includes(Some(module)), "{module}");
    }
    let script = Asked::by(&config(&[], Some("#!/bin/sh\ntrue\n")));
    assert!(script.includes(Some("scripts-user")) && !script.includes(Some("ntp")));
    // Settings that are known only by their digest may ask for anything.
    let mut unknown = config(&[], Some(data));
    let digest = unknown.cloud_init.user_data.as_ref().unwrap().digest();
    unknown.cloud_init.user_data = Some(Content::Digest(digest));
    assert!(Asked::by(&unknown).includes(Some("locale")));
}

#[test]
fn only_the_status_is_taken_of_what_the_console_printed_meanwhile() {
    let printed =
        "[  1.0] cloud-init[4]: status: running\nnetlab-status 1\nssh-rsa AAAA root@deb\nstatus: error\ndetail:\nx\n";
    assert_eq!(said(printed), Some((1, "status: error\ndetail:\nx".to_owned())));
    assert_eq!(
        said("netlab-status 0\n....\nstatus: done\n"),
        Some((0, "status: done".to_owned()))
    );
    assert_eq!(said("netlab-status none\n"), None);
}

/// A guest that runs scripts by the shell of this machine, in which cloud-init recorded `status`.
fn guest(status: &'static str, code: i32) -> (Session<'static>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("status.json");
    std::fs::write(&file, status).unwrap();
    let session = open(Scripted::new(Shell::running(move |script| {
        if script.contains("cloud-init status") {
            return (format!("netlab-status {code}\nstatus: error\n"), 0);
        }
        let script = script.replace(STATUS, &file.display().to_string());
        let script = script.replace(OUTPUT, &format!("cat <<'END'\n{PRINTED}END\n"));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text, output.status.code().unwrap_or(1))
    })));
    (session, folder)
}

#[test]
fn the_error_names_the_module_and_quotes_what_it_printed() {
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    let (mut session, _folder) = guest(OF_22_4, 1);
    let error = check(&mut session, &config(&["nosuch"], None), &mut warn)
        .unwrap_err()
        .to_string();
    assert!(error.contains("package-update-upgrade-install"), "{error}");
    assert!(
        error.ends_with(":\nReading package lists...\nE: Unable to locate package nosuch"),
        "{error}"
    );
    check(&mut session, &config(&[], None), &mut warn).unwrap();
    wait(&mut session, &mut warn).unwrap();
    assert_eq!(warnings.len(), 1 + 2 + 2, "{warnings:?}");
}

#[test]
fn what_a_stage_printed_is_quoted_and_nothing_where_that_is_not_there() {
    assert_eq!(printed_in("modules-config", PRINTED), "Generating locales");
    assert_eq!(printed_in("init", PRINTED), "");
    assert_eq!(printed_in("", ""), "");
    let long = format!("Cloud-init v. 24.4 running 'init' at\n{}", "x\n".repeat(50));
    assert_eq!(printed_in("init", &long).lines().count(), QUOTED);
}
