use super::*;
use crate::lab::HttpUrl;
use crate::plan::example::{topology, vm};

fn from() -> Asked {
    Asked::Vm(vm("vm1"))
}

/// The verdict and the reason of a question whose questions are answered by `answers`, in their order.
fn ask(question: &Question, reach: bool, answers: &[ServiceAnswer]) -> (Verdict, String) {
    let topology = topology();
    let asked = questions(&topology, question, &from());
    let answers = asked.into_iter().zip(answers.iter().cloned()).collect();
    let (verdict, reason, _) = verdict(reach, outcome(&topology, question, &from(), &answers), None);
    (verdict, reason.unwrap_or_default())
}

fn tcp(to: Target) -> Question {
    Question::Tcp { to, port: 80 }
}

fn web() -> Target {
    Target::Name("web.example".parse().unwrap())
}

fn refused() -> ServiceAnswer {
    ServiceAnswer::Nothing("the connection is refused".to_owned())
}

fn silent() -> ServiceAnswer {
    ServiceAnswer::Unresolved("its name server does not answer".to_owned())
}

fn addresses_of(all: &[[u8; 4]]) -> ServiceAnswer {
    ServiceAnswer::Addresses(all.iter().map(|address| IpAddr::from(*address)).collect())
}

#[test]
fn a_guest_is_asked_at_its_address_in_the_network_of_the_asker() {
    let question = tcp(Target::Vm(vm("vm2")));
    let asked = questions(&topology(), &question, &from());
    let wanted = ServiceQuestion::Tcp {
        host: "10.0.1.3".to_owned(),
        port: 80,
    };
    assert_eq!(asked, [wanted]);
    let url = HttpUrl {
        host: Target::Vm(vm("vm2")),
        port: 8080,
        path: "/a".to_owned(),
    };
    let question = Question::Http {
        url,
        status: None,
        text: None,
    };
    let asked = questions(&topology(), &question, &from());
    assert!(matches!(&asked[..], [ServiceQuestion::Http { url, .. }] if url == "http://10.0.1.3:8080/a"));
}

#[test]
fn a_connection_passes_where_it_must_be_made_and_fails_where_it_must_not() {
    let question = tcp(Target::Vm(vm("vm2")));
    let connected = [ServiceAnswer::Connected];
    assert_eq!(ask(&question, true, &connected).0, Verdict::Pass);
    assert_eq!(
        ask(&question, false, &connected),
        (Verdict::Fail, "must not be, but a connection is made".to_owned())
    );
    assert_eq!(
        ask(&question, true, &[refused()]),
        (Verdict::Fail, "the connection is refused".to_owned())
    );
    assert_eq!(ask(&question, false, &[refused()]).0, Verdict::Pass);
}

#[test]
fn what_was_not_asked_or_not_resolved_proves_nothing() {
    let lacks = [ServiceAnswer::CannotAsk("it has no nc".to_owned())];
    for reach in [true, false] {
        let (verdict, why) = ask(&tcp(Target::Vm(vm("vm2"))), reach, &lacks);
        assert_eq!(
            (verdict, why.as_str()),
            (Verdict::Unknown, "cannot be asked here: it has no nc")
        );
        assert_eq!(ask(&tcp(web()), reach, &[]).0, Verdict::Unknown);
    }
    let question = tcp(web());
    for unresolved in [silent(), addresses_of(&[])] {
        // A program that was ended while it resolved the name says nothing of it.
        let answers = [refused(), unresolved];
        assert_eq!(ask(&question, true, &answers).0, Verdict::Fail);
        let (verdict, why) = ask(&question, false, &answers);
        assert_eq!(verdict, Verdict::Unknown);
        assert!(why.contains("not proved"), "{why}");
    }
    let answers = [refused(), addresses_of(&[[10, 0, 1, 3]])];
    assert_eq!(ask(&question, false, &answers).0, Verdict::Pass);
}

#[test]
fn nothing_is_proved_by_a_refusal_while_the_guest_that_is_asked_does_not_run() {
    let no = Outcome::No("no answer in 5 seconds".to_owned());
    let (verdict, why, unsettled) = verdict(false, no, Some("guest vm2: the guest is not running"));
    assert_eq!((verdict, unsettled), (Verdict::Unknown, true));
    assert!(why.unwrap().contains("vm2"));
}

#[test]
fn a_page_has_its_status_and_its_text() {
    let question = |status| Question::Http {
        url: HttpUrl {
            host: Target::Vm(vm("vm2")),
            port: 80,
            path: "/".to_owned(),
        },
        status,
        text: Some("hello".to_owned()),
    };
    let page = |status, has_text| ServiceAnswer::Page {
        status,
        has_text,
        begin: "good day".to_owned(),
    };
    assert_eq!(ask(&question(None), true, &[page(204, true)]).0, Verdict::Pass);
    assert_eq!(ask(&question(Some(403)), true, &[page(403, true)]).0, Verdict::Pass);
    let (verdict, why) = ask(&question(None), true, &[page(200, false)]);
    assert_eq!(verdict, Verdict::Fail);
    assert!(why.contains("`hello`") && why.contains("`good day`"), "{why}");
    let (verdict, why) = ask(&question(None), true, &[page(404, true)]);
    assert_eq!(verdict, Verdict::Fail);
    assert!(why.contains("404"), "{why}");
    assert_eq!(ask(&question(None), false, &[page(200, false)]).0, Verdict::Pass);
    assert_eq!(ask(&question(None), false, &[page(200, true)]).0, Verdict::Fail);
}

#[test]
fn a_name_has_the_addresses_that_the_check_or_the_lab_gives_it() {
    let question = |name: &str, answer: &[[u8; 4]]| Question::Dns {
        name: name.parse().unwrap(),
        answer: answer.iter().map(|address| Ipv4Addr::from(*address)).collect(),
    };
    let right = [addresses_of(&[[203, 0, 113, 1]])];
    let wrong = [addresses_of(&[[203, 0, 113, 9]])];
    let fixed = question("example.org", &[[203, 0, 113, 1]]);
    assert_eq!(ask(&fixed, true, &right).0, Verdict::Pass);
    let (verdict, why) = ask(&fixed, true, &wrong);
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(why, "the answer is 203.0.113.9 instead of 203.0.113.1");
    assert_eq!(
        ask(&question("example.org", &[]), true, &wrong).0,
        Verdict::Pass,
        "any will do"
    );
    assert_eq!(ask(&fixed, true, &[silent()]).0, Verdict::Fail);
    assert_eq!(ask(&fixed, false, &[silent()]).0, Verdict::Unknown, "nobody was asked");
    assert_eq!(ask(&fixed, false, &[addresses_of(&[])]).0, Verdict::Pass);

    let mut topology = topology();
    for guest in topology.guests.values_mut() {
        guest.nics.iter_mut().for_each(|nic| nic.dhcp = true);
    }
    let name = format!("VM2.{}", topology.lab).parse().unwrap();
    assert_eq!(names::addresses(&topology, &name), [Ipv4Addr::new(10, 0, 1, 3)].into());
}

#[test]
fn a_path_is_measured_and_silence_is_no_measurement() {
    let question = |max_rtt_ms, mtu| Question::Ping {
        to: Target::Vm(vm("vm2")),
        max_rtt_ms,
        mtu,
    };
    let pinged = |received, rtt_ms| {
        ServiceAnswer::Pinged(Answer::Counted {
            sent: 3,
            received,
            rtt_ms,
            said: None,
        })
    };
    let (good, none) = (pinged(3, Some(12.0)), pinged(0, None));
    let slow = question(Some(10), None);
    assert_eq!(
        ask(&question(Some(12), None), true, std::slice::from_ref(&good)).0,
        Verdict::Pass
    );
    assert_eq!(ask(&slow, true, std::slice::from_ref(&good)).0, Verdict::Fail);
    assert_eq!(ask(&slow, false, std::slice::from_ref(&good)).0, Verdict::Pass);
    assert_eq!(ask(&slow, false, std::slice::from_ref(&none)).0, Verdict::Unknown);
    assert_eq!(ask(&slow, true, &[pinged(2, Some(1.0))]).0, Verdict::Lossy);
    let jumbo = question(None, Some(9000));
    assert_eq!(ask(&jumbo, true, &[good.clone(), good.clone()]).0, Verdict::Pass);
    assert_eq!(ask(&jumbo, true, &[none.clone(), good.clone()]).0, Verdict::Fail);
    assert_eq!(ask(&jumbo, false, &[none.clone(), good.clone()]).0, Verdict::Pass);
    assert_eq!(ask(&jumbo, false, &[none.clone(), none.clone()]).0, Verdict::Unknown);
    assert_eq!(ask(&question(None, None), true, &[none]).0, Verdict::Fail);
}

#[test]
fn answers_are_kept_and_only_what_is_unsettled_is_asked_again() {
    let mut topology = topology();
    let question = tcp(Target::Vm(vm("vm2")));
    topology.checks = vec![ServiceCheck {
        name: None,
        from: vec![from(), Asked::Vm(vm("vm2"))],
        question: question.clone(),
        reach: true,
        hint: None,
    }];
    let mut services = Services::default();
    let asked = service_questions(&topology);
    let one = |answer: ServiceAnswer| -> Result<_, String> {
        Ok([(questions(&topology, &question, &from())[0].clone(), answer)].into())
    };
    services.take(
        &asked,
        [
            (from(), one(refused())),
            (Asked::Vm(vm("vm2")), Err("no console".to_owned())),
        ]
        .into(),
    );
    let again = services.unsettled(&topology);
    assert_eq!(again.keys().collect::<Vec<_>>(), [&Asked::Vm(vm("vm2"))]);
    services.take(&again, [(Asked::Vm(vm("vm2")), one(ServiceAnswer::Connected))].into());
    assert_eq!(services.unsettled(&topology), BTreeMap::new());
    services.take(&again, [(from(), Err("no console".to_owned()))].into());
    assert_eq!(services.unsettled(&topology), BTreeMap::new(), "an answer is kept");
}
