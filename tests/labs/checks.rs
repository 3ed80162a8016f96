//! The lab `checks`: services, names and paths, and what is said of them where they fail.

use serde_json::Value;

use super::live::labs;
use crate::support::lab::{Bench, PATIENT};

/// A check that fails, with a hint.
const FAILS: &str = "\n[[verify.check]]\nname = \"a port without a service\"\nfrom = [\"client\"]\nto = \"web\"\ntcp = 81\n\
                     hint = \"this is what the author says\"\n";

/// The checks of a lab by asker and question, each with its verdict and all that is said about it.
fn checks(report: &Value) -> Vec<(String, String, String)> {
    let word = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let all = report["checks"].as_array().unwrap().iter();
    all.map(|check| {
        let asked = format!("{} {}", word(check, "from"), word(check, "question"));
        let said = format!(
            "{}; {}; {}",
            word(check, "reason"),
            word(check, "cause"),
            word(check, "hint")
        );
        (asked, word(check, "verdict"), said)
    })
    .collect()
}

fn verified(bench: &Bench, status: i32) -> (Vec<(String, String, String)>, String) {
    let output = bench.run(&["verify", "--wait", "10", "--json", bench.file()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{text}\n{said}");
    (checks(&serde_json::from_str(&text).unwrap()), text + &said)
}

/// What is said about a question, which must have this verdict.
fn about<'a>(found: &'a [(String, String, String)], asked: &str, verdict: &str) -> &'a str {
    let (_, has, said) = found
        .iter()
        .find(|(question, ..)| question == asked)
        .unwrap_or_else(|| panic!("{asked}: {found:#?}"));
    assert_eq!(has, verdict, "{asked}: {found:#?}");
    said
}

/// Kills the DNS servers whose command lines hold `word`.
fn kill(word: &str) {
    let script = "for p in /proc/[0-9]*; do grep -qz -e \"$0\" $p/cmdline && [ \"${p#/proc/}\" != $$ ] && \
                  grep -q dnsmasq $p/comm && kill ${p#/proc/}; done 2>/dev/null; true";
    let status = std::process::Command::new("sh")
        .args(["-c", script, word])
        .status()
        .unwrap();
    assert!(status.success());
}

/// FAULTS 57, services: about 40 s, of which half are two guests that boot.
#[test]
fn services_names_and_paths_are_checked_and_what_ends_a_service_is_named_and_repaired() {
    let test = "services_names_and_paths_are_checked_and_what_ends_a_service_is_named_and_repaired";
    let text = std::fs::read_to_string(labs().join("checks.toml")).unwrap();
    let text = text
        .replace("name = \"checks\"\n", "name = \"LABNAME\"\n")
        .replace("web.checks", "web.LABNAME");
    let Some(bench) = Bench::new(test, "chk", &text) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let again = bench.good(&["up", bench.file()]);
    assert!(again.contains("nothing to do"), "{again}");
    let shown = bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    assert!(shown.contains("8 of 8 checks as expected"), "{shown}");
    let raw = bench.good(&[
        "-q",
        "exec",
        &bench.name,
        "client",
        "--",
        "sh",
        "-c",
        "echo x | nc web 80",
    ]);
    assert_eq!(raw.trim(), "hello", "a client that does not speak HTTP gets the text");

    // A service that ended, a router's name server that ended, and a port that nobody listens on.
    bench.write(&format!("{text}{FAILS}"));
    bench.good(&[
        "-q",
        "exec",
        &bench.name,
        "web",
        "--",
        "sh",
        "-c",
        "kill $(cat /run/netlab/serve-80.pid)",
    ]);
    kill(&format!("--txt-record=netlab.{}.home", bench.name));
    let (found, said) = verified(&bench, 1);
    let page = about(&found, &format!("client http://web.{}/", bench.name), "fail");
    assert!(
        page.contains("refused") && page.contains("does node1 know the name?"),
        "{page}"
    );
    let outside = about(&found, "client dns example.org", "fail");
    assert!(
        outside.contains("home: dnsmasq, the router's DNS server at 192.168.99.1, does not run"),
        "{outside}"
    );
    assert!(
        about(&found, "web ping example.org", "fail").contains("home: dnsmasq"),
        "{said}"
    );
    assert!(
        about(&found, "client tcp web:81", "fail").contains("this is what the author says"),
        "{said}"
    );
    about(&found, "node1 tcp web:23", "pass");
    assert!(said.contains("guest web: nothing listens on TCP port 80"), "{said}");
    bench.write(&text);
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "verify", "--wait", PATIENT, bench.file()]);

    // Other names than the lab's, and a name server of guests that ended.
    bench.write(&text.replace(
        "\"example.org\" = \"203.0.113.1\"",
        "\"example.org\" = \"192.168.99.1\"",
    ));
    bench.good(&["-q", "up", bench.file()]);
    bench.write(&text);
    let (found, said) = verified(&bench, 1);
    let wrong = about(&found, "client dns example.org", "fail");
    assert!(
        wrong.contains("192.168.99.1 instead of 203.0.113.1") && wrong.contains("has other names than the lab's"),
        "{said}"
    );
    kill(&format!("dhcp/{}.service/conf", bench.name));
    let (found, said) = verified(&bench, 1);
    let page = about(&found, &format!("client http://web.{}/", bench.name), "fail");
    assert!(
        page.contains("node1: dnsmasq, the DHCP and DNS server of network service at 10.0.1.1, does not run"),
        "{said}"
    );

    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
