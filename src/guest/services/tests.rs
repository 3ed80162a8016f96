use super::super::LINE_LIMIT;
use super::*;

fn answer(question: &ServiceQuestion, report: &str) -> ServiceAnswer {
    read::answer(question, report).unwrap()
}

fn tcp() -> ServiceQuestion {
    ServiceQuestion::Tcp {
        host: "10.0.1.2".to_owned(),
        port: 80,
    }
}

fn http() -> ServiceQuestion {
    ServiceQuestion::Http {
        url: "http://10.0.1.2/".to_owned(),
        text: Some("it's".to_owned()),
    }
}

fn dns() -> ServiceQuestion {
    ServiceQuestion::Dns {
        name: "vm1.lab".to_owned(),
    }
}

fn ping() -> ServiceQuestion {
    ServiceQuestion::Ping {
        host: "10.0.1.2".to_owned(),
        size: Some(1472),
    }
}

#[test]
fn a_connection_a_refusal_and_a_name_that_is_not_resolved_are_three_answers() {
    use ServiceAnswer::{Connected, Nothing, Unknown, Unresolved};
    let nothing = |answer: ServiceAnswer| matches!(answer, Nothing(_));
    assert_eq!(answer(&tcp(), "busybox 0"), Connected);
    assert!(
        matches!(answer(&tcp(), "busybox 143"), Unknown(_)),
        "a name may not have been resolved in time"
    );
    for refused in [
        "busybox 1 nc: can't connect to remote host (10.0.1.2): Connection refused",
        "busybox 1 nc: timed out",
        "nc 1 nc: connect to 10.0.1.2 port 80 (tcp) timed out: Operation now in progress",
        "nc 1 Ncat: No route to host.",
        "bash 1 bash: connect: Connection refused|bash: line 1: /dev/tcp/10.0.1.2/80: Connection refused",
        "bash 124",
        "python3 1 ConnectionRefusedError: [Errno 111] Connection refused",
        "busybox 1 nc: can't connect to remote host (10.0.9.2): Network is unreachable",
    ] {
        assert!(nothing(answer(&tcp(), refused)), "{refused}");
    }
    for name in [
        "busybox 1 nc: bad address 'no.such'",
        "bash 1 bash: no.such: Temporary failure in name resolution",
        "python3 1 socket.gaierror: [Errno -2] Name or service not known",
    ] {
        assert!(matches!(answer(&tcp(), name), Unresolved(_)), "{name}");
    }
    assert!(matches!(answer(&tcp(), "nc 2 Segmentation fault"), Unknown(_)));
}

#[test]
fn a_program_that_is_missing_is_no_answer() {
    for (question, lacks) in [(tcp(), "nc"), (http(), "wget"), (dns(), "nslookup")] {
        let ServiceAnswer::CannotAsk(why) = answer(&question, "none 0") else {
            panic!("{question:?}");
        };
        assert!(why.contains(lacks), "{why}");
    }
}

#[test]
fn the_status_and_the_page_are_read_from_curl_and_wget() {
    let page = |status, has_text, begin: &str| ServiceAnswer::Page {
        status,
        has_text,
        begin: begin.to_owned(),
    };
    assert_eq!(
        answer(&http(), "wget 1   HTTP/1.1 200 OK|=it's here"),
        page(200, true, "it's here")
    );
    let twice = "curl 0 < HTTP/1.1 301 Moved|< HTTP/1.1 404 Not Found|=no [ page ]";
    assert_eq!(answer(&http(), twice), page(404, false, "no [ page ]"));
    let busybox = "wget 0   HTTP/1.1 404 Not Found|wget: server returned error: HTTP/1.1 404 Not Found|";
    assert_eq!(answer(&http(), busybox), page(404, false, ""));
    let refused = answer(
        &http(),
        "wget 0 wget: can't connect to remote host (10.0.1.2): Connection refused|",
    );
    assert!(matches!(refused, ServiceAnswer::Nothing(_)), "{refused:?}");
    let name = answer(&http(), "curl 0 curl: (6) Could not resolve host: no.such|");
    assert!(matches!(name, ServiceAnswer::Unresolved(_)), "{name:?}");
    assert!(matches!(answer(&http(), "curl 0 "), ServiceAnswer::Nothing(_)));
}

#[test]
fn addresses_are_read_from_each_program_and_never_that_of_the_server() {
    let found = ServiceAnswer::Addresses([IpAddr::from([10, 0, 1, 2])].into());
    for report in [
        "nslookup 0 Server: 10.0.1.1|Address: 10.0.1.1:53||Name: vm1.lab|Address: 10.0.1.2||*** Can't find vm1.lab: No answer",
        "nslookup 0 Server:    10.0.1.1|Address 1: 10.0.1.1||Name:      vm1.lab|Address 1: 10.0.1.2 vm1.lab",
        "dig 0 ; <<>> DiG 9.18 <<>> vm1.lab A|;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1|;vm1.lab. IN A|vm1.lab. 0 IN A 10.0.1.2|;; SERVER: 10.0.1.1#53",
        "host 0 vm1.lab has address 10.0.1.2",
        "getent 0 10.0.1.2 STREAM vm1.lab|10.0.1.2 DGRAM|10.0.1.2 RAW",
    ] {
        assert_eq!(answer(&dns(), report), found, "{report}");
    }
}

#[test]
fn a_name_that_does_not_exist_and_a_server_that_does_not_answer_are_two_results() {
    for none in [
        "nslookup 1 Server: 10.0.1.1|Address: 10.0.1.1:53||** server can't find no.such: NXDOMAIN",
        "dig 0 ;; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 2",
        "host 1 Host no.such not found: 3(NXDOMAIN)",
    ] {
        assert_eq!(
            answer(&dns(), none),
            ServiceAnswer::Addresses(BTreeSet::new()),
            "{none}"
        );
    }
    for silent in [
        "nslookup 1 nslookup: write to '10.0.1.1': Connection refused|;; connection timed out; no servers could be reached||",
        "dig 9 ;; communications error to 10.0.1.1#53: timed out|;; no servers could be reached",
        "nslookup 143",
        "nslookup 1 ** server can't find no.such: REFUSED",
        "getent 2",
    ] {
        assert!(
            matches!(answer(&dns(), silent), ServiceAnswer::Unresolved(_)),
            "{silent}"
        );
    }
}

#[test]
fn pings_are_counted() {
    let report = "ping 0 PING 10.0.1.2 (10.0.1.2): 1472 data bytes||--- 10.0.1.2 ping statistics ---|\
                  3 packets transmitted, 3 packets received, 0% packet loss|round-trip min/avg/max = 1.0/2.0/3.0 ms";
    let ServiceAnswer::Pinged(Answer::Counted {
        received: 3, rtt_ms, ..
    }) = answer(&ping(), report)
    else {
        panic!("{report}");
    };
    assert_eq!(rtt_ms, Some(2.0));
    assert!(matches!(
        answer(&ping(), "ping 1 ping: bad address 'no.such'"),
        ServiceAnswer::Unresolved(_)
    ));
}

#[test]
fn the_script_fits_into_the_lines_of_a_terminal_and_has_only_the_functions_it_needs() {
    let all = [tcp(), http(), dns(), ping()];
    let numbered: BTreeMap<usize, &ServiceQuestion> = all.iter().enumerate().collect();
    let text = script(&numbered);
    assert!(text.lines().all(|line| line.len() <= LINE_LIMIT), "{text}");
    assert!(text.contains(r"g 1 'http://10.0.1.2/' 'it'\''s'"), "{text}");
    let dns = dns();
    let text = script(&[(0, &dns)].into());
    assert!(
        text.contains("nslookup") && !text.contains("wget") && !text.contains("nc "),
        "{text}"
    );
    assert_eq!(script(&BTreeMap::new()), "");
}

#[test]
fn a_line_that_is_not_intact_is_no_answer() {
    let tcp = tcp();
    let questions = [(3, &tcp)].into();
    let good = read("mini# w1 ?3 [ busybox 0 ] ?3 w1\r\n", "w1", &questions);
    assert_eq!(good, [(3, ServiceAnswer::Connected)].into());
    for bad in [
        "w1 ?3 [ busybox 0 ] ?4 w1",
        "w1 ?3 [ busybox 0 ] ?3",
        "w1 ?3 [ busy [ 3.1] eth0: up",
        "w1 ?4 [ busybox 0 ] ?4 w1",
        "w2 ?3 [ busybox 0 ] ?3 w2",
    ] {
        assert_eq!(read(bad, "w1", &questions), BTreeMap::new(), "{bad}");
    }
}

#[test]
fn a_shell_without_the_programs_says_that_it_cannot_ask() {
    let folder = tempfile::tempdir().unwrap();
    let tr = ["/usr/bin/tr", "/bin/tr"]
        .into_iter()
        .find(|tr| std::path::Path::new(tr).exists())
        .unwrap();
    std::os::unix::fs::symlink(tr, folder.path().join("tr")).unwrap();
    let all = [tcp(), http(), dns()];
    let numbered: BTreeMap<usize, &ServiceQuestion> = all.iter().enumerate().collect();
    let text = format!("( set -f; w=w1\n{}wait )\n", script(&numbered));
    let mut shell = std::process::Command::new("/bin/sh");
    let output = shell.args(["-c", &text]).env("PATH", folder.path()).output().unwrap();
    let answers = read(&String::from_utf8_lossy(&output.stdout), "w1", &numbered);
    assert_eq!(answers.len(), 3, "{output:?}");
    for answer in answers.values() {
        assert!(matches!(answer, ServiceAnswer::CannotAsk(_)), "{answer:?}");
    }
}

/// The script itself, in a network namespace's worth of loopback: what a host has of nc, curl or wget is used.
#[test]
fn a_shell_asks_a_server_that_listens_and_a_port_that_nobody_listens_on() {
    use std::io::{Read, Write};
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free.local_addr().unwrap().port();
    drop(free);
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let Ok(mut stream) = stream else { continue };
            _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            _ = stream.read(&mut [0; 4096]);
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nit's here\n");
        }
    });
    let host = "127.0.0.1".to_owned();
    let all = [
        ServiceQuestion::Tcp {
            host: host.clone(),
            port,
        },
        ServiceQuestion::Tcp {
            host: host.clone(),
            port: closed,
        },
        ServiceQuestion::Http {
            url: format!("http://127.0.0.1:{port}/"),
            text: Some("it's".to_owned()),
        },
        ServiceQuestion::Http {
            url: format!("http://127.0.0.1:{port}/"),
            text: Some("other".to_owned()),
        },
        ServiceQuestion::Ping { host, size: Some(900) },
    ];
    let numbered: BTreeMap<usize, &ServiceQuestion> = all.iter().enumerate().collect();
    let text = format!("( set -f; w=w1\n{}wait )\n", script(&numbered));
    let output = std::process::Command::new("sh").args(["-c", &text]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers = read(&printed, "w1", &numbered);
    let page = |has_text| ServiceAnswer::Page {
        status: 200,
        has_text,
        begin: "it's here".to_owned(),
    };
    if !matches!(answers.get(&0), Some(ServiceAnswer::CannotAsk(_))) {
        assert_eq!(answers.get(&0), Some(&ServiceAnswer::Connected), "{printed}");
        assert!(matches!(answers.get(&1), Some(ServiceAnswer::Nothing(_))), "{printed}");
    }
    if !matches!(answers.get(&2), Some(ServiceAnswer::CannotAsk(_))) {
        assert_eq!(answers.get(&2), Some(&page(true)), "{printed}");
        assert_eq!(answers.get(&3), Some(&page(false)), "{printed}");
    }
    assert!(
        matches!(
            answers.get(&4),
            Some(ServiceAnswer::Pinged(Answer::Counted { received: 3, .. }))
        ),
        "{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
